#pragma once
// Each phase judged alone: every recorded stage against the oracle of its own recorded inputs. This is what
// tells which phase is wrong, also when both agree with each other. Equal inputs and outputs are judged once.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "judge/evidence.h"
#include "judge/stage_oracle.h"
#include "verdict/error_picture.h"

namespace greta {

struct JudgedStage {
  std::optional<Judgement> judgement;
  std::string why;  // nothing could be judged, or not all
  /// Of a conviction, when asked for.
  std::shared_ptr<const Sighting> sighting = {};
  std::shared_ptr<const ErrorPicture> picture = {};  // of what was judged

  bool is_convicted() const { return judgement && judgement->noise_ratio > 1; }
};

/// What earlier passes over recordings of one engine and model made of equal data: by judgement_key(),
/// without sightings.
using KnownJudgements = std::map<std::string, JudgedStage>;

/// Of some pieces of work so many are done. May throw, which ends the work.
using Step = std::function<void(size_t done, size_t all)>;

class OraclePass {
 public:
  struct Options {
    int threads = 1;
    bool sightings = false;              // keep what convicts a stage
    const std::set<At>* only = nullptr;  // those to judge; none: all
    KnownJudgements* known = nullptr;    // is used and added to; or none
    KnownJudgements* last = nullptr;     // of the pass before, with sightings: used, then this one's; or none
    Step step = {};                      // called by one thread at a time
  };

  explicit OraclePass(Options options) : options_(options) {}

  /// Queues the stages of a phase. `phase` must outlive this.
  void add(const PhaseRecord& phase);

  /// Judges what is queued.
  void run();

  /// The result of a stage that was added and run; nullptr for one that was not.
  const JudgedStage* find(const PhaseView& view, At at) const;

  /// Takes back what was judged of this stage, and of equal ones.
  void withdraw(const PhaseView& view, At at, const std::string& why);

 private:
  struct Job {
    const PhaseRecord* phase;
    At at;
    JudgedStage* result;
  };
  using Batch = std::vector<Job>;  // projections by one arithmetic with one weight; or any one stage

  const JudgedStage* known_result(const std::string& key) const;
  std::vector<Batch> batches() const;
  void judge_batch(const Batch& batch) const;
  void keep(const Job& job, Trial trial) const;

  Options options_;
  JudgedStage not_asked_{std::nullopt, "not asked for"};
  std::map<std::string, Job> jobs_;             // by judgement_key()
  std::map<std::string, JudgedStage> results_;  // likewise
  std::map<const Event*, JudgedStage*> by_event_;
};

}  // namespace greta

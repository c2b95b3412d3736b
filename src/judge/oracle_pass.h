#pragma once
// Each phase judged alone: every recorded stage against the oracle of its own recorded inputs. This is what
// tells which phase is wrong, also when both agree with each other. Equal inputs and outputs are judged once.

#include <map>
#include <string>
#include <vector>

#include "judge/stage_oracle.h"

namespace greta {

class OraclePass {
 public:
  /// Queues all stages of a phase. `phase` must live until run() has returned.
  void add(const PhaseRecord& phase);

  /// Judges what is queued, on `threads` threads.
  void run(int threads);

  struct Result {
    std::optional<Judgement> judgement;
    std::string why;  // nothing could be judged
  };
  /// The result of a stage that was added and run; nullptr for one that was not.
  const Result* find(const PhaseView& view, At at) const;

 private:
  struct Job {
    const PhaseRecord* phase;
    At at;
  };

  std::map<std::string, Job> jobs_;        // by judgement_key()
  std::map<std::string, Result> results_;  // likewise
  std::map<const Event*, const Result*> by_event_;
};

}  // namespace greta

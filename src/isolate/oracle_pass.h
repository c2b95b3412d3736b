#pragma once
// Each phase judged alone: every recorded stage against the oracle of its own recorded inputs. This is what
// tells which phase is wrong, also when both agree with each other. Equal inputs and outputs are judged once.

#include <map>
#include <string>
#include <vector>

#include "isolate/stage_oracle.h"

namespace greta::isolate {

class OraclePass {
 public:
  explicit OraclePass(const Model& model) : model_(model) {}

  /// Queues all stages of a phase. `view` and `tokens` must live until run() has returned.
  void add(const PhaseView& view, const std::vector<TokenId>& tokens);

  /// Judges what is queued, on `threads` threads.
  void run(int threads);

  struct Result {
    std::optional<Judgement> judgement;
    std::string why;  // nothing could be judged
  };
  /// The result of a stage that was added and run; nullptr for one that was not.
  const Result* find(const PhaseView& view, Stage stage, int layer) const;

 private:
  struct Job {
    const PhaseView* view;
    const std::vector<TokenId>* tokens;
    Stage stage;
    int layer;
  };

  /// What determines a judgement: the stage, its place, the declared roundings, the hashes of output and
  /// inputs.
  std::string key(const PhaseView& view, Stage stage, int layer) const;

  const Model& model_;
  std::map<std::string, Job> jobs_;
  std::map<std::string, Result> results_;
};

}  // namespace greta::isolate

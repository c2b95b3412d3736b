#pragma once
// Runs beside the experiment matrix, recorded in part: a bundle of their own that is judged as any other.

#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "experiment/program.h"
#include "record/recorder.h"
#include "record/recording.h"

namespace greta {

class OwnRecording {
 public:
  /// Runs are described as `manifest` has it, but for their prompts.
  OwnRecording(const Program& program, nlohmann::json manifest);

  /// Runs on these tokens go by this name.
  void add_prompt(const std::string& id, std::span<const int32_t> tokens);

  /// One block of prefill, or a step, of `tokens` at the runner's next position: it runs as it is recorded.
  /// `layers`: that are seen; with kNoLayer the logits too. `rows`: positions that are seen.
  void run(Runner& runner, const std::string& prompt, Phase phase, std::span<const int32_t> tokens,
           std::vector<int> layers, std::vector<int64_t> rows);

  Bundle complete() &&;

 private:
  const Program& program_;
  Recording recording_;
  nlohmann::json manifest_;
  nlohmann::json prompts_ = nlohmann::json::array();
  int runs_ = 0;
};

/// The experiment that such runs belong to.
inline constexpr const char* kOwnExperiment = "E0";

}  // namespace greta

#include "experiment/own_recording.h"

#include <fmt/format.h>

#include <algorithm>

#include "record/experiment.h"

namespace greta {

OwnRecording::OwnRecording(const Program& program, nlohmann::json manifest)
    : program_(program), manifest_(std::move(manifest)) {
  manifest_["experiments"] = {to_json(experiments().front())};
  manifest_["shared_cache"] = false;  // each run is judged by what it recorded itself
  recording_.open(manifest_);
}

void OwnRecording::add_prompt(const std::string& id, std::span<const int32_t> tokens) {
  prompts_.push_back({{"id", id}, {"tokens", std::vector<int32_t>(tokens.begin(), tokens.end())}});
}

void OwnRecording::run(Runner& runner, const std::string& prompt, Phase phase,
                       std::span<const int32_t> tokens, std::vector<int> layers, std::vector<int64_t> rows) {
  RecordScope scope;
  scope.operands = true;
  scope.layers = [&layers](int layer) {
    return std::find(layers.begin(), layers.end(), layer) != layers.end();
  };
  scope.rows = [&rows](Stage, int64_t) { return rows; };
  // A phase of its own: several of one name would have to be one.
  Recorder recorder(
      [this](Event event, std::vector<float> values) {
        recording_.write(std::move(event), std::move(values));
      },
      fmt::format("{}{}", phase == Phase::decode ? "step" : "block", runs_++));
  const Making recorded{.fast = false,
                        .edit = [&](PlanEdit& edit) { insert_records(edit, recorder, scope); }};
  const bool logits = scope.layers(kNoLayer);
  const Plan plan = program_.plan(phase, std::ssize(tokens), logits, recorded);
  const std::string experiment = kOwnExperiment;
  recording_.begin_run(prompt, std::span(&experiment, 1));
  runner.forward(plan, tokens);
  recording_.end_run();
}

Bundle OwnRecording::complete() && {
  Bundle bundle = recording_.complete();
  bundle.manifest["prompts"] = prompts_;
  return bundle;
}

}  // namespace greta

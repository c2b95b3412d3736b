#include "record/record.h"

#include "record/manifest.h"
#include "record/recording.h"

namespace greta {

Bundle record_matrix(Engine& engine, const MatrixRequest& request) {
  ManifestInfo info;
  info.aligned = request.aligned;
  for (const Prompt& prompt : request.prompts)
    info.prompts.push_back({prompt.id, prompt.text, prompt.tokens});
  for (const Experiment& experiment : request.experiments) info.experiments.push_back(to_json(experiment));
  Recording recording(make_manifest(engine, info), nullptr, Keep::none, 0);
  Matrix(engine, request)
      .run({.event = [&](Event event,
                         std::span<const float> values) { recording.write(std::move(event), values); },
            .end_run = [] {},
            .step = [](int, int, const std::string&) {}});
  recording.complete();
  return recording.take();
}

}  // namespace greta

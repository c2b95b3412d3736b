#include "record/recording.h"

namespace greta {

void Recording::open(nlohmann::json manifest, const std::string& directory, bool force) {
  bundle_.path = "(memory)";
  bundle_.manifest = std::move(manifest);
  if (!directory.empty()) writer_ = std::make_unique<BundleWriter>(directory, force, bundle_.manifest);
}

void Recording::begin_run(std::string prompt_id, std::span<const std::string> experiments) {
  prompt_id_ = std::move(prompt_id);
  experiments_.assign(experiments.begin(), experiments.end());
}

void Recording::write(Event event, std::vector<float> values) {
  event.prompt_id = prompt_id_;
  describe(event, values);
  const SharedFloats data = bundle_.store(event.hash, std::move(values));
  std::vector<Event> cells(experiments_.size(), event);
  for (size_t i = 0; i < cells.size(); ++i) {
    cells[i].experiment = experiments_[i];
    cells[i].cell = name(cells[i].key());
  }
  const bool keep = keep_ == Keep::all || (keep_ == Keep::first && event.layer == first_layer_);
  if (writer_) writer_->write(cells, data, keep);
  std::move(cells.begin(), cells.end(), std::back_inserter(bundle_.events));
}

void Recording::end_run() {
  if (writer_) writer_->end_run();
}

Bundle Recording::complete() {
  bundle_.manifest["complete"] = true;
  if (writer_) writer_->set_manifest(bundle_.manifest);
  return std::move(bundle_);
}

}  // namespace greta

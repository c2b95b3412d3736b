#include "record/recording.h"

#include "base/hash.h"

namespace greta {

Recording::Recording(nlohmann::json manifest, BundleWriter* writer, Keep keep, int first_layer)
    : writer_(writer), keep_(keep), first_layer_(first_layer) {
  bundle_.path = "(memory)";
  bundle_.manifest = std::move(manifest);
}

void Recording::write(Event event, std::span<const float> values) {
  const bool keep = keep_ == Keep::all || (keep_ == Keep::first && event.layer == first_layer_);
  if (writer_ != nullptr) {
    event = writer_->write(std::move(event), values, keep);
  } else {
    event.hash = hash_floats(values).hex();
    event.summary = summarize(values);
  }
  bundle_.tensors.try_emplace(event.hash, values.begin(), values.end());
  bundle_.events.push_back(std::move(event));
}

void Recording::end_run() {
  if (writer_ != nullptr) writer_->end_run();
}

void Recording::complete() {
  bundle_.manifest["complete"] = true;
  if (writer_ != nullptr) writer_->set_manifest(bundle_.manifest);
}

}  // namespace greta

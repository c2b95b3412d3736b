#pragma once
// A run's events as a bundle in memory and, where one is asked for, on disk at the same time. Judging reads
// the one in memory, which is what read_bundle() would give with all data kept.

#include "bundle/bundle.h"
#include "record/recorder.h"

namespace greta {

/// Which tensors a bundle on disk keeps; hashes and statistics it always has.
enum class Keep {
  none,
  first,  // those of the first traced layer
  all,
};

class Recording {
 public:
  /// `writer` may be nullptr.
  Recording(nlohmann::json manifest, BundleWriter* writer, Keep keep, int first_layer);

  void write(Event event, std::span<const float> values);
  void end_run();
  /// The run ended well: the manifest says so.
  void complete();

  const Bundle& bundle() const { return bundle_; }
  Bundle take() { return std::move(bundle_); }

 private:
  Bundle bundle_;
  BundleWriter* writer_;
  Keep keep_;
  int first_layer_;
};

}  // namespace greta

#pragma once
// Runs as a bundle in memory and, where one is asked for, on disk at the same time. Judging reads the one in
// memory, which is what read_bundle() would give with all data kept.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bundle/bundle.h"

namespace greta {

/// Which tensors a bundle on disk keeps; hashes and statistics it always has.
enum class Keep {
  none,
  first,  // those of the first traced layer
  all,
};

class Recording {
 public:
  explicit Recording(Keep keep = Keep::none, int first_layer = kNoLayer)
      : keep_(keep), first_layer_(first_layer) {}

  /// To be called before the first run. `directory`: "" for a bundle in memory only. Errors as of
  /// BundleWriter.
  void open(nlohmann::json manifest, const std::string& directory = "", bool force = false);

  /// What is written from now on belongs to one run: of a prompt, in the cells of these experiments.
  void begin_run(std::string prompt_id, std::span<const std::string> experiments);

  /// One record of the run, which becomes an event of each of its cells. Hash, summary and data are made and
  /// kept once for all of them. `event` has all but these and its cell.
  void write(Event event, std::vector<float> values);

  void end_run();

  /// The run ended well: the manifest says so. Gives the bundle away.
  Bundle complete();

 private:
  Keep keep_;
  int first_layer_;
  Bundle bundle_;
  std::unique_ptr<BundleWriter> writer_;  // none: in memory only
  std::string prompt_id_;
  std::vector<std::string> experiments_;
};

}  // namespace greta

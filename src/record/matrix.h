#pragma once
// Runs the experiment matrix and records it: prompts x experiments, each a prefill_last against a decode0.

#include <functional>
#include <string>

#include "bundle/bundle.h"
#include "record/manifest.h"
#include "record/matrix_request.h"
#include "record/recording.h"

namespace greta {

struct RecordOptions {
  std::string directory = {};  // of the bundle on disk; "": it is in memory only
  bool force = false;          // overwrite a bundle there
  Keep keep = Keep::all;       // on disk
  Origin origin = {};
  /// Before each run, and when all are done; may throw to stop there.
  std::function<void(int done, int total, const std::string& label)> progress = {};
};

/// One prefill per prompt (the experiments force decode only), one decode0 per cell. All plans are made
/// first: a forced route that can't run, or a prompt that does not fit, is an input Error before anything has
/// run and before the directory is made. The bundle holds all data in memory, whatever is kept on disk.
Bundle record_matrix(Engine& engine, const MatrixRequest& request, const RecordOptions& options = {});

}  // namespace greta

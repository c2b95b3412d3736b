#pragma once
// What the capture library tells of a run (capture.jsonl in its directory): graph by graph, and notes.

#include <algorithm>
#include <string>
#include <vector>

namespace greta::cli {

struct CaptureLog {
  struct Graph {
    int rows = 0;
    std::string tokens, logits;  // hashes
  };
  struct Recorded {
    std::string phase;  // "prompt.0/prefill"
    int rows = 0, stages = 0;
  };
  std::vector<Graph> graphs;
  std::vector<Recorded> recorded;
  std::vector<std::string> notes;

  /// Something that was to be recorded could not be written.
  bool has_hole() const {
    return std::ranges::any_of(notes,
                               [](const std::string& note) { return note.starts_with("cannot write"); });
  }
};

/// What is there; a line that is cut off is left out.
CaptureLog read_capture_log(const std::string& directory);
/// Removes the files that the library keeps beside the bundle.
void remove_capture_log(const std::string& directory);

/// Whether a run without observers computed the same logits, graph by graph: "equal", "different" or
/// "not compared"; and a sentence.
struct Attestation {
  std::string result, sentence;
};
Attestation attest_capture(const CaptureLog& with, const CaptureLog& without);

/// Why a preloaded library saw nothing of a program: that it is static, has ggml built in, ...
std::string why_unseen(const std::string& program);

}  // namespace greta::cli

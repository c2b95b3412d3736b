#pragma once
// What is asked of the library, by environment variables: a preloaded library has no other caller. `greta
// capture` sets them (src/cli/capture.cpp), and so may anyone.

#include <optional>
#include <string>

namespace greta::capture {

struct Settings {
  std::string out;      // GRETA_CAPTURE_OUT=DIR, which exists; without it nothing is done
  int first_layer = 0;  // GRETA_CAPTURE_LAYERS=all|N|N-M
  int last_layer = 1 << 20;
  int steps = 2;              // GRETA_CAPTURE_STEPS=N: steps of one token to record, of each prompt
  int prompts = 1;            // GRETA_CAPTURE_PROMPTS=N
  bool only_digests = false;  // GRETA_CAPTURE_ONLY_DIGESTS=1: hashes of logits, with no observer in the graph
};

/// nullopt where nothing is asked for.
std::optional<Settings> read_settings();

}  // namespace greta::capture

#pragma once
// Writes a trace bundle (docs/trace-format.md) from inside a stranger's program: no dependency, no exception.
// After the first failure it takes nothing more; what it wrote stays readable.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/stage.h"

namespace greta::capture {

struct Record {
  At place;
  std::string kernel, dtype = "f32";
  std::vector<int64_t> positions, shape;
  std::vector<float> values = {};
  bool unscaled = false, unmasked = false;  // of scores
  const char* beside = nullptr;             // it is no stage, but this of the place's
  std::string op = {};                      // it is the n-th of its graph that no stage is made by: "roll"
  size_t number = 0;

  bool is_stage() const { return beside == nullptr && op.empty(); }
};

struct Prompt {
  std::string id;
  std::vector<int64_t> tokens;  // by position
};

/// What the manifest says, as far as it is known by now.
struct Manifest {
  std::string engine, version, device, model_file, kv_format;
  bool aligned = false, shared_cache = false;
  std::string decode0_row;
  std::vector<Prompt> prompts;
  std::map<std::string, std::string> kernels;  // name -> JSON of what it declares
};

/// As a JSON string, with its quotes.
std::string quoted(std::string_view text);
std::string list(const std::vector<int64_t>& numbers);

class TraceWriter {
 public:
  explicit TraceWriter(std::string directory) : directory_(std::move(directory)) {}

  /// The records of one phase: their values, then their events, then the manifest. False, and failure(), when
  /// something could not be written.
  bool write(const std::string& prompt, const std::string& phase, const std::vector<Record>& records,
             const Manifest& manifest);
  const std::string& failure() const { return failure_; }

 private:
  bool write_tensors(const std::string& name, const std::string& phase, const std::vector<Record>& records);
  bool append_events(const std::string& file, const std::string& prompt, const std::string& phase,
                     const std::vector<Record>& records);
  bool fail(const std::string& path);

  std::string directory_, failure_;
  int files_ = 0;
};

}  // namespace greta::capture

// Any bytes are a model or an input Error: never a crash, a hang or a large allocation.
// With -dict=tests/fuzz/gguf.dict the fuzzer finds its way through the keys sooner.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <utility>

#include "base/error.h"
#include "model/gguf.h"
#include "model/model.h"

namespace {

using greta::ModelFile;

template <class Act>
void expect_input_error_at_most(Act act) {
  try {
    act();
  } catch (const greta::Error& error) {
    if (error.kind() != greta::ErrorKind::input) std::abort();
  }
}

/// Every element of every array, by the look-ups that callers use.
void read_all(const ModelFile& file) {
  for (const auto& entry : file.metadata()) {
    if (file.find(entry.first) != &entry.second) std::abort();
    expect_input_error_at_most([&] { file.find_uint(entry.first, 1000); });
    expect_input_error_at_most([&] { file.find_ints(entry.first); });
    expect_input_error_at_most([&] { file.find_floats(entry.first); });
    expect_input_error_at_most([&] { file.find_strings(entry.first); });
  }
}

/// Every tensor's data lies inside the file: reads its first and last byte. A type newer than the reader has
/// none.
void touch_all(const ModelFile& file) {
  volatile uint8_t sink = 0;
  for (const greta::Tensor& tensor : file.tensors()) {
    if (file.find_tensor(tensor.name) != &tensor) std::abort();
    if (tensor.data.empty()) continue;
    sink = std::to_integer<uint8_t>(tensor.data.front());
    sink = std::to_integer<uint8_t>(tensor.data.back());
  }
  static_cast<void>(sink);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  expect_input_error_at_most([&] {
    ModelFile file = greta::parse_gguf(std::as_bytes(std::span(data, size)), "fuzz.gguf");
    read_all(file);
    touch_all(file);
    greta::bind_model(std::move(file));
  });
  return 0;
}

// greta_trace.h with any strings and numbers: what it takes, the reader reads, as it was said (texts that are
// no UTF-8 with U+FFFD), and what it refuses leaves the bundle as it was. The input: eight numbers, then
// texts with zero bytes between.

#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "bundle/bundle.h"
#include "bundle/join.h"

#define GRETA_TRACE_IMPLEMENTATION
#include "greta_trace.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

struct Input {
  std::array<uint8_t, 8> numbers{};
  std::vector<std::string> texts;

  Input(const uint8_t* data, size_t size) : texts(1) {
    for (size_t i = 0; i < size; ++i) {
      if (i < numbers.size()) {
        numbers[i] = data[i];
      } else if (data[i] == 0) {
        texts.emplace_back();
      } else {
        texts.back() += static_cast<char>(data[i]);
      }
    }
  }
  const char* text(size_t i) const { return i < texts.size() ? texts[i].c_str() : nullptr; }
  const char* nonempty(size_t i) const { return text(i) == nullptr || *text(i) == 0 ? nullptr : text(i); }
};

bool same(const std::string& read, const char* said) {
  const std::string text = said == nullptr ? "" : said;
  return greta::utf8_valid_prefix(text) != text.size() || read == text;
}

greta_trace_event event_of(const Input& input, const std::vector<float>& values,
                           std::array<int64_t, 4>& strides) {
  greta_trace_event event = GRETA_TRACE_ZERO;
  const auto& n = input.numbers;
  event.stage = input.text(6);
  event.layer = n[0] - 1;
  event.dtype = static_cast<greta_trace_dtype>(n[1] % 10);
  event.data = values.data();
  event.shape[0] = n[2] % 4;
  event.shape[1] = n[3] % 5;
  event.shape[2] = n[4] % 3;
  strides = {n[5] % 8, n[6] % 8, n[7] % 8, 1};
  event.strides = (n[2] & 64) != 0 ? strides.data() : nullptr;
  event.values = (n[3] & 64) != 0 ? values.data() : nullptr;
  event.position = n[4] / 3;
  event.flags = n[7] / 8 & 15;
  event.kernel = input.text(7);
  event.route = input.text(8);
  event.held_as = input.nonempty(9);
  return event;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string path =
      std::filesystem::temp_directory_path() / ("greta-fuzz-" + std::to_string(::getpid()));
  std::filesystem::remove_all(path);
  const Input input(data, size);
  const std::vector<float> values(256, 1.5f);  // more than any shape and stride here reaches, in any type
  std::array<int64_t, 4> strides{};
  greta_trace_meta meta = GRETA_TRACE_ZERO;
  meta.engine = input.text(0);
  meta.version = meta.model_name = input.text(1);
  const greta_trace trace = greta_trace_open(path.c_str(), &meta);
  require((trace != 0) == (input.nonempty(0) != nullptr));
  if (trace == 0) return 0;
  const int32_t tokens[] = {1, 2, 3};
  greta_trace_prompt(trace, input.text(2), input.text(1), tokens, 3);
  greta_trace_kernel(trace, input.text(7), input.text(3));
  greta_trace_experiment(trace, input.text(4), nullptr, 0);
  greta_trace_begin(trace, input.text(5), input.text(2), input.text(4));
  const greta_trace_event event = event_of(input, values, strides);
  int taken = greta_trace_stage(trace, &event) == GRETA_TRACE_OK;
  greta_trace_begin(trace, "decode0", input.text(2), nullptr);
  taken += greta_trace_rows(trace, "q", 0, values.data(), GRETA_TRACE_F32, 1, 4, 0) == GRETA_TRACE_OK;
  greta_trace_close(trace);

  const greta::Bundle bundle = greta::joined(greta::read_bundle(path));  // an Error ends the run
  require(bundle.notes.empty());
  require(same(bundle.manifest.at("engine"), input.text(0)));
  require(bundle.events.size() >= static_cast<size_t>(taken));
  require(bundle.events.size() <= static_cast<size_t>(2 * taken));
  for (const greta::Event& one : bundle.events) {
    require(bundle.data(one) != nullptr);
    require(same(one.prompt_id, input.text(2)));
  }
  return 0;
}

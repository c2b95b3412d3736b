// Any file of a checkpoint's directory is one of a model, or an input Error: never a crash, a hang or a loss
// of what is in memory. The first byte chooses which file the rest is; the others are right.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "../model/tiny_checkpoint.h"
#include "base/error.h"
#include "model/chat_template.h"
#include "model/model.h"
#include "model/tokenizer.h"

namespace {

constexpr std::array<const char*, 6> kFiles = {"config.json",           "model.safetensors.index.json",
                                               "model.safetensors",     "tokenizer.json",
                                               "tokenizer_config.json", "generation_config.json"};

template <class Act>
void expect_input_error(Act act) {
  try {
    act();
  } catch (const greta::Error& error) {
    if (error.kind() != greta::ErrorKind::input) std::abort();
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
  }
}

void use_tokenizer(const std::string& path) {
  const greta::ModelFile file = greta::open_model_file(path);
  const auto tokenizer = greta::Tokenizer::from(file);
  for (const std::string_view text :
       {"", "ab cab <tag> c<s>", "a\xff\xf0\x9f\x98\x80 1'll\n\n \u2581e\u0301"}) {
    const auto ids = tokenizer.encode(text, true);
    for (const auto id : ids) {
      if (id < 0 || id >= tokenizer.vocab_size()) std::abort();
    }
    tokenizer.decode(ids);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  static const greta::test::TinyCheckpoint checkpoint;
  const std::string name = kFiles[data[0] % kFiles.size()];
  const auto file = std::as_bytes(std::span(data, size)).subspan(1);
  checkpoint.write(name, {reinterpret_cast<const char*>(file.data()), file.size()});
  expect_input_error([] { greta::open_model(checkpoint.path()); });
  expect_input_error([] { use_tokenizer(checkpoint.path()); });
  // As it was.
  if (name == "config.json") {
    checkpoint.change_config({});
  } else if (name == "tokenizer.json") {
    checkpoint.write(name, greta::test::tiny_tokenizer_json().dump());
  } else if (name == "model.safetensors") {
    checkpoint.write_tensors(name, greta::test::tiny_tensors());
  } else {
    checkpoint.remove(name);
  }
  return 0;
}

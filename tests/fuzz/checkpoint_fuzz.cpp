// Any file of a checkpoint's directory is one of a model, or an input Error: never a crash, a hang or a loss
// of what is in memory. The first byte chooses which file the rest is, and how weights are said to be
// quantised; the others are right.

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

/// What config.json says of them, by method; none first.
const nlohmann::json& quantisation(size_t at) {
  const auto packed = [](int bits, const char* format) {
    return nlohmann::json{{"quant_method", "compressed-tensors"},
                          {"format", format},
                          {"config_groups", {{"group_0", {{"weights", {{"num_bits", bits}}}}}}}};
  };
  static const std::array<nlohmann::json, 7> all = {
      nlohmann::json(),
      nlohmann::json{{"quant_method", "fp8"}, {"weight_block_size", {4, 4}}},
      nlohmann::json{{"quant_method", "gptq"}, {"bits", 4}},
      nlohmann::json{{"quant_method", "awq"}, {"bits", 4}},
      nlohmann::json{{"quant_method", "mxfp4"}},
      packed(4, "pack-quantized"),
      packed(8, "int-quantized")};
  return all[at % all.size()];
}

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
  if (name == "model.safetensors")
    checkpoint.change_config({{"quantization_config", quantisation(data[0] / kFiles.size())}});
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
    checkpoint.change_config({});
  } else {
    checkpoint.remove(name);
  }
  return 0;
}

// The same weights as a GGUF and as a Hugging Face directory: equal bits at every stage, in f32, f16 and
// bf16.
//
// The directory is what transformers' save_pretrained() writes of the models that the GGUFs of
// goldens/architectures were made from: goldens/checkpoints.json has its config.json, its tensors' names and
// the hash of their bytes in f16, which what is written here from the GGUF must have.

#include <gmock/gmock.h>

#include <array>
#include <cctype>
#include <cstring>
#include <fstream>
#include <list>
#include <map>
#include <nlohmann/json.hpp>

#include "base/half.h"
#include "base/hash.h"
#include "engine/forward_hashes.h"
#include "io/archive.h"
#include "io/output_file.h"
#include "io/safetensors.h"
#include "io/scratch.h"
#include "model/gguf.h"

namespace greta {
namespace {

constexpr std::array kModels = {"llama",   "qwen2", "qwen3",   "gemma2", "gemma3", "phi3",   "mistral",
                                "smollm3", "olmo2", "granite", "yarn",   "linear", "partial"};

using Bytes = std::vector<std::byte>;

template <class T>
void append(T value, Bytes& to) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  to.insert(to.end(), bytes.begin(), bytes.end());
}

/// Elements of an f16 or f32 tensor.
std::vector<float> values_of(const Tensor& tensor) {
  std::vector<float> values;
  const size_t size = tensor.type == TensorType::f16 ? 2 : 4;
  for (size_t at = 0; at < tensor.data.size(); at += size) {
    uint16_t half = 0;
    float whole = 0;
    size == 2 ? std::memcpy(&half, &tensor.data[at], 2) : std::memcpy(&whole, &tensor.data[at], 4);
    values.push_back(size == 2 ? f16_to_f32(half) : whole);
  }
  return values;
}

Bytes as_type(const std::vector<float>& values, TensorType type) {
  Bytes bytes;
  for (const float value : values) {
    if (type == TensorType::f32) append(value, bytes);
    if (type == TensorType::f16) append(f32_to_f16(value), bytes);
    if (type == TensorType::bf16) append(f32_to_bf16(value), bytes);
  }
  return bytes;
}

/// A golden, and what it is as a directory.
class Pair {
 public:
  Pair(const std::string& name, TensorType type) : type_(type), directory_("greta-checkpoint") {
    std::ifstream file(GRETA_SOURCE_DIR "/tests/goldens/checkpoints.json");
    golden_ = nlohmann::json::parse(file).at(name);
    archive_ = read_archive(GRETA_SOURCE_DIR "/tests/goldens/architectures/" + name + ".tgz",
                            [](const std::string& member) { return member == "model.gguf"; });
    parsed_ = parse_gguf(archive_.at("model.gguf"), name);
    architecture_ = parsed_.find_string("general.architecture").value();
    permuted_ = architecture_ == "llama" || architecture_ == "smollm3" || architecture_ == "granite";
    write_directory(name);
  }

  std::string path() const { return directory_.path(); }

  /// The golden with its matrices in the type.
  ModelFile gguf() {
    ModelFile file = parse_gguf(archive_.at("model.gguf"), "golden");
    std::vector<Tensor> tensors = file.tensors();
    for (Tensor& tensor : tensors) {
      if (tensor.n_dims != 2) continue;
      tensor.data = owned_.emplace_back(as_type(values_of(tensor), type_));
      tensor.type = type_;
    }
    file.set_tensors(std::move(tensors));
    return file;
  }

 private:
  /// A tensor as transformers has it: RoPE's halves, and Gemma's norms less 1.
  std::vector<float> original(const Tensor& tensor) const {
    std::vector<float> values = values_of(tensor);
    if (tensor.n_dims == 1 && (architecture_ == "gemma2" || architecture_ == "gemma3")) {
      for (float& value : values) value -= 1;
    }
    const bool turned = tensor.name.ends_with("attn_q.weight") || tensor.name.ends_with("attn_k.weight");
    if (!permuted_ || !turned) return values;
    const size_t k = tensor.dims[0], d = golden_["config"].value("head_dim", 16u);
    std::vector<float> halves(values.size());
    for (size_t row = 0; row < tensor.dims[1]; ++row) {
      const size_t in_head = row % d, to = row - in_head + in_head / 2 + in_head % 2 * (d / 2);
      std::copy_n(&values[row * k], k, &halves[to * k]);
    }
    return halves;
  }

  void write_directory(const std::string& name) {
    std::ofstream(path() + "/config.json") << golden_["config"].dump();
    std::map<std::string, const Tensor*> by_name;
    for (const auto& [key, value] : golden_["tensors"].items()) {
      for (int layer = 0; layer < 8; ++layer) {
        const auto at = [layer](std::string text) {
          const size_t brace = text.find("{}");
          return brace == text.npos ? text : text.replace(brace, 2, std::to_string(layer));
        };
        if (const Tensor* tensor = parsed_.find_tensor(at(value))) by_name[at(key)] = tensor;
      }
    }
    std::vector<NamedBytes> written;
    Bytes all_f16;
    for (const auto& [key, tensor] : by_name) {
      const std::vector<float> values = original(*tensor);
      std::vector<int64_t> shape;
      for (int d = tensor->n_dims; d > 0; --d)
        shape.push_back(static_cast<int64_t>(tensor->dims[static_cast<size_t>(d - 1)]));
      const Bytes half = as_type(values, TensorType::f16);
      all_f16.insert(all_f16.end(), half.begin(), half.end());
      std::string dtype(greta::name(type_));
      for (char& c : dtype) c = static_cast<char>(std::toupper(c));
      written.push_back({key, dtype, shape, as_type(values, type_)});
    }
    ASSERT_EQ(sha256_hex(all_f16), golden_["sha256"].get<std::string>()) << name;
    OutputFile file(path() + "/model.safetensors");
    write_safetensors(file, std::span<const NamedBytes>(written));
    file.close();
  }

  TensorType type_;
  ScratchDirectory directory_;
  nlohmann::json golden_;
  std::map<std::string, Bytes> archive_;
  ModelFile parsed_;
  std::string architecture_;
  bool permuted_ = false;
  std::list<Bytes> owned_;
};

class Checkpoints : public testing::TestWithParam<std::tuple<const char*, TensorType>> {};

INSTANTIATE_TEST_SUITE_P(Goldens, Checkpoints,
                         testing::Combine(testing::ValuesIn(kModels),
                                          testing::Values(TensorType::f32, TensorType::f16,
                                                          TensorType::bf16)),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param)) + "_" +
                                  std::string(name(std::get<1>(test.param)));
                         });

/// Tolerance: none.
TEST_P(Checkpoints, GiveTheBitsOfTheirGguf) {
  Pair pair(std::get<0>(GetParam()), std::get<1>(GetParam()));
  const EngineOptions options{1, best_isa(), Format::f32};
  Engine gguf(bind_model(pair.gguf()), options), directory(open_model(pair.path()), options);
  std::vector<int32_t> tokens;
  for (int i = 0; i < 24; ++i) tokens.push_back((i * 37 + 5) % 160);
  for (const char* route : {"all=vector", "all=matrix"}) {
    if (std::get<1>(GetParam()) == TensorType::f32 && std::string_view(route) == "all=matrix")
      continue;  // none
    RouteTable routes;
    routes.add(parse_route_rule(route));
    EXPECT_EQ(test::prefill(directory, tokens, 24, routes), test::prefill(gguf, tokens, 24, routes)) << route;
    EXPECT_EQ(test::decode_all(directory, tokens, routes), test::decode_all(gguf, tokens, routes)) << route;
  }
}

}  // namespace
}  // namespace greta

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

constexpr std::array kModels = {"llama",         "qwen2",     "qwen3",         "gemma2",  "gemma3",
                                "phi3",          "mistral",   "smollm3",       "olmo2",   "granite",
                                "yarn",          "linear",    "partial",       "gpt-oss", "longrope",
                                "longrope_long", "deepseek2", "deepseek2_lite"};

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
      if (tensor.type != TensorType::f16) continue;  // routers and vectors stay f32
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

  const Tensor* find(const std::string& name) const {
    return parsed_.find_tensor(name.substr(0, name.find('[')));
  }

  struct Stored {
    std::vector<int64_t> shape;
    std::vector<float> values;
  };

  /// The checkpoint's tensor of one or two of the GGUF.
  Stored stored(const std::string& key, const std::vector<std::string>& names) const {
    const Tensor& first = *find(names[0]);
    Stored all{{}, original(first)};
    for (int d = first.n_dims; d > 0; --d)
      all.shape.push_back(static_cast<int64_t>(first.dims[static_cast<size_t>(d - 1)]));
    if (const size_t number = names[0].find('['); number != names[0].npos)
      return one_expert(std::move(all), std::stoul(names[0].substr(number + 1)));
    if (key.ends_with("kv_b_proj.weight")) return heads(all, original(*find(names[1])));
    if (key.find(".experts.") == key.npos) return all;
    const std::vector<float> up = names.size() == 2 ? original(*find(names[1])) : std::vector<float>{};
    return turned_experts(std::move(all), up, key.ends_with("_bias"));
  }

  static Stored one_expert(Stored all, size_t expert) {
    const auto size = static_cast<std::ptrdiff_t>(all.values.size() / static_cast<size_t>(all.shape[0]));
    const auto begin = all.values.begin() + static_cast<std::ptrdiff_t>(expert) * size;
    return {{all.shape[1], all.shape[2]}, {begin, begin + size}};
  }

  /// MLA's kv_b_proj: of each head the rows of attn_k_b [heads, rank, rows], turned, then those of attn_v_b.
  static Stored heads(const Stored& keys, const std::vector<float>& made) {
    const auto n = static_cast<size_t>(keys.shape[0]), rank = static_cast<size_t>(keys.shape[1]),
               rows = static_cast<size_t>(keys.shape[2]), of_head = made.size() / n;
    Stored all{{0, keys.shape[1]}, {}};
    for (size_t head = 0; head < n; ++head) {
      for (size_t row = 0; row < rows; ++row) {
        for (size_t column = 0; column < rank; ++column)
          all.values.push_back(keys.values[(head * rank + column) * rows + row]);
      }
      const auto begin = made.begin() + static_cast<std::ptrdiff_t>(head * of_head);
      all.values.insert(all.values.end(), begin, begin + static_cast<std::ptrdiff_t>(of_head));
    }
    all.shape[0] = static_cast<int64_t>(all.values.size() / rank);
    return all;
  }

  /// gpt-oss: gate's and up's rows by turns, matrices the other way round.
  static Stored turned_experts(Stored all, const std::vector<float>& up, bool is_bias) {
    const auto columns = is_bias ? size_t{1} : static_cast<size_t>(all.shape[2]);
    if (!up.empty()) {
      const std::vector<float> gate = std::move(all.values);
      all.values.clear();
      for (size_t row = 0; row < gate.size() / columns; ++row) {
        for (const auto* one : {&gate, &up}) {
          const auto begin = one->begin() + static_cast<std::ptrdiff_t>(row * columns);
          all.values.insert(all.values.end(), begin, begin + static_cast<std::ptrdiff_t>(columns));
        }
      }
      all.shape[1] *= 2;
    }
    if (is_bias) return all;
    const std::vector<float> as_rows = all.values;
    const auto rows = static_cast<size_t>(all.shape[1]);
    for (size_t i = 0; i < as_rows.size(); ++i) {
      const size_t expert = i / (rows * columns), k = i / rows % columns, row = i % rows;
      all.values[i] = as_rows[(expert * rows + row) * columns + k];
    }
    std::swap(all.shape[1], all.shape[2]);
    return all;
  }

  void write_directory(const std::string& name) {
    std::ofstream(path() + "/config.json") << golden_["config"].dump();
    std::map<std::string, std::vector<std::string>> by_name;
    for (const auto& [key, value] : golden_["tensors"].items()) {
      for (int layer = 0; layer < 8; ++layer) {
        const auto at = [layer](std::string text) {
          const size_t brace = text.find("{}");
          return brace == text.npos ? text : text.replace(brace, 2, std::to_string(layer));
        };
        const auto& listed = value.is_array() ? value : nlohmann::json::array({value});
        if (find(at(listed[0])) == nullptr) continue;
        for (const auto& one : listed) by_name[at(key)].push_back(at(one));
        if (at(key) == key) break;
      }
    }
    std::vector<NamedBytes> written;
    Bytes all_f16;
    for (const auto& [key, names] : by_name) {
      const auto [shape, values] = stored(key, names);
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
                           std::string model = std::get<0>(test.param);
                           std::erase(model, '-');
                           return model + "_" + std::string(name(std::get<1>(test.param)));
                         });

/// Tolerance: none.
TEST_P(Checkpoints, GiveTheBitsOfTheirGguf) {
  Pair pair(std::get<0>(GetParam()), std::get<1>(GetParam()));
  const EngineOptions options{1, best_isa(), Format::f32};
  // Of LongRoPE: 24 tokens are beyond the context of one's short factors.
  const auto opened = [&](Model model) {
    set_context(model, 24);
    return Engine(std::move(model), options);
  };
  Engine gguf = opened(bind_model(pair.gguf())), directory = opened(open_model(pair.path()));
  std::vector<int32_t> tokens;
  for (int i = 0; i < 24; ++i) tokens.push_back((i * 37 + 5) % 160);
  for (const char* route : {"all=vector", "all=matrix"}) {
    if (std::get<1>(GetParam()) == TensorType::f32 && std::string_view(route) == "all=matrix")
      continue;  // none
    RouteTable routes;
    routes.add(parse_route_rule(route));
    routes.add(parse_route_rule("router=vector"));  // of f32
    EXPECT_EQ(test::prefill(directory, tokens, 24, routes), test::prefill(gguf, tokens, 24, routes)) << route;
    EXPECT_EQ(test::decode_all(directory, tokens, routes), test::decode_all(gguf, tokens, routes)) << route;
  }
}

}  // namespace
}  // namespace greta

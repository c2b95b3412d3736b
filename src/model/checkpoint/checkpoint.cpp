#include "model/checkpoint/checkpoint.h"

#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "base/error.h"
#include "base/half.h"
#include "io/json_fields.h"
#include "io/safetensors.h"
#include "model/checkpoint/config.h"
#include "model/checkpoint/experts.h"
#include "model/checkpoint/quantised.h"
#include "model/checkpoint/tokenizer_files.h"
#include "model/gguf_cursor.h"

namespace greta {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kWhole = "model.safetensors";

bool lies_there(const fs::path& path) {
  std::error_code none;
  return fs::exists(path, none);
}

/// Says what else lies there.
[[noreturn]] void fail_no_weights(const fs::path& directory) {
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(directory, none)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".gguf")) fail_input("{}: has {}: name that file", directory.string(), excerpt(name));
    if (name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth"))
      fail_input("{}: has {} but no safetensors; save the model again with safe_serialization=True",
                 directory.string(), excerpt(name));
  }
  fail_input("{}: has neither {} nor {}; is the download complete?", directory.string(), kWhole, kIndex);
}

/// Where each tensor lies, as the index says; empty without one.
std::map<std::string, std::string> read_index(const fs::path& directory) {
  const std::string path = (directory / kIndex).string();
  const MappedFile file(path);
  const nlohmann::json json = parse_json(file.text(), path);
  const auto found = json.is_object() ? json.find("weight_map") : json.end();
  if (!json.is_object() || found == json.end() || !found->is_object() || found->empty())
    fail_input("{}: has no weight_map", path);
  std::map<std::string, std::string> shard_of;
  for (const auto& [tensor, shard] : found->items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : "";
    const bool plain = name.find_first_of(std::string_view("/\\\0", 3)) == name.npos;
    if (!plain || !name.ends_with(".safetensors"))
      fail_input("{}: weight_map puts {} into {}; expected the name of a .safetensors file beside it", path,
                 excerpt(tensor), excerpt(dump_json(shard)));
    shard_of.emplace(tensor, name);
  }
  return shard_of;
}

TensorType type_of(const TensorView& view, const std::string& where, std::string_view name) {
  if (view.dtype == "F32") return TensorType::f32;
  if (view.dtype == "F16") return TensorType::f16;
  if (view.dtype == "BF16") return TensorType::bf16;
  fail_input(
      "{}: the tensor {} is {}; GRETA reads F32, F16, BF16, and what config.json's quantization_config tells "
      "of",
      where, excerpt(name), view.dtype);
}

/// The directory's tensors.
class Tensors {
 public:
  Tensors(const CheckpointConfig& config, Storage& storage, ModelFile& file)
      : config_(config), storage_(storage), file_(file) {}

  void read(const fs::path& directory) {
    std::map<std::string, std::string> shard_of;
    std::set<std::string> shards;
    if (lies_there(directory / kIndex)) {
      shard_of = read_index(directory);
      for (const auto& [tensor, shard] : shard_of) shards.insert(shard);
      for (const std::string& shard : shards) {
        if (!lies_there(directory / shard))
          fail_input("{}: {} is missing, which {} names; fetch it", directory.string(), excerpt(shard),
                     kIndex);
      }
    } else if (lies_there(directory / kWhole)) {
      shards.insert(kWhole);
    } else {
      fail_no_weights(directory);
    }
    for (const std::string& shard : shards) read_shard(directory, shard, shard_of);
    if (!shard_of.empty()) {
      const auto& [tensor, shard] = *shard_of.begin();
      fail_input("{}: weight_map puts {} into {}, which does not have it", (directory / kIndex).string(),
                 excerpt(tensor), excerpt(shard));
    }
    const FusedExperts form = config_.kind == nullptr ? FusedExperts::halves : config_.kind->fused;
    if (form == FusedExperts::turned) turn_experts(storage_, stored_);
    decode_quantised(config_.quantisation, (directory / "config.json").string(), storage_, stored_);
    join_experts(form, storage_, stored_);
    for (const auto& [name, stored] : stored_) {
      const std::string known = gguf_name(name, *config_.architecture).value_or(name);
      if (known == "output.weight" && config_.tied) continue;
      if (config_.nope_dim > 0 && known.ends_with(".attn_kv_b.weight")) {
        cut_heads(name, known, stored.view, stored.path);
        continue;
      }
      add(name, known, stored.view, stored.path);
    }
    add_rope_factors("rope_freqs.weight", config_.rope_factors);
    add_rope_factors("rope_factors_long.weight", config_.long_factors);
    add_rope_factors("rope_factors_short.weight", config_.short_factors);
    file_.set_tensors(std::move(tensors_));
    if (config_.kind != nullptr && !config_.tied && file_.find_tensor("output.weight") == nullptr)
      fail_input("{}: the tensor lm_head.weight is missing, and config.json does not tie it to the embedding",
                 directory.string());
  }

 private:
  /// Takes what it finds out of `shard_of`.
  void read_shard(const fs::path& directory, const std::string& shard,
                  std::map<std::string, std::string>& shard_of) {
    const std::string path = (directory / shard).string();
    MappedFile map(path);
    const std::span<const std::byte> bytes = map.bytes();
    file_.add_part({shard, bytes, std::move(map)});
    for (const auto& [name, view] : parse_safetensors(bytes, path)) {
      const auto at = shard_of.find(name);
      if (at != shard_of.end() && at->second != shard) continue;  // the index takes another's
      if (at != shard_of.end()) shard_of.erase(at);
      if (is_unused(name)) continue;
      if (config_.mtp_from > 0 && layer_of(name).value_or(0) >= config_.mtp_from) continue;
      if (const auto [other, fresh] = stored_.try_emplace(name, StoredTensor{view, path}); !fresh)
        fail_input("{}: the tensor {} is in {}, too", path, excerpt(name), other->second.path);
    }
  }

  void add(const std::string& name, const std::string& known, const TensorView& view,
           const std::string& path) {
    if (view.shape.empty() || view.shape.size() > 4 || view.count == 0)
      fail_input(
          "{}: the tensor {} has {} dimensions and {} values; expected 1 to 4 dimensions, none of them 0",
          path, excerpt(name), view.shape.size(), view.count);
    Tensor tensor;
    tensor.name = storage_.keep(known);
    tensor.type = type_of(view, path, name);
    tensor.n_dims = static_cast<int>(view.shape.size());
    for (size_t d = 0; d < view.shape.size(); ++d)
      tensor.dims[d] = static_cast<uint64_t>(view.shape[view.shape.size() - 1 - d]);
    tensor.data = view.bytes;
    const bool in_halves = config_.kind != nullptr && config_.architecture->rope_adjacent &&
                           !config_.architecture->latent && is_query_or_key(known);
    if (tensor.n_dims == 1) {
      make_vector(tensor, to_floats(view), in_halves);
    } else if (chooses_experts(known) || known.ends_with(".bias")) {
      set_floats(tensor, to_floats(view));
    } else if (in_halves && tensor.dims[1] % static_cast<uint64_t>(config_.head_dim) == 0) {
      tensor.order = order();
    }
    tensors_.push_back(tensor);
  }

  /// kv_b_proj of MLA [heads * (nope + out), rank]: of each head the rows that make keys, turned, by which
  /// queries are multiplied (attn_k_b [heads, rank, nope]), and those that make values (attn_v_b [heads, out,
  /// rank]).
  void cut_heads(const std::string& name, const std::string& known, const TensorView& view,
                 const std::string& path) {
    const int64_t heads = config_.n_head, nope = config_.nope_dim, out = config_.out_dim;
    if (view.shape.size() != 2 || view.count == 0 || view.shape[0] != heads * (nope + out))
      fail_input("{}: the tensor {} is [{}]; {} heads of {} and {} rows need {}", path, excerpt(name),
                 fmt::join(view.shape, ", "), heads, nope, out, heads * (nope + out));
    const int64_t rank = view.shape[1];
    const auto size = view.bytes.size() / static_cast<size_t>(view.count);
    std::vector<std::byte> keys, values;
    const auto append = [&](int64_t row, int64_t column, std::vector<std::byte>& to) {
      const auto one = view.bytes.subspan(static_cast<size_t>(row * rank + column) * size, size);
      to.insert(to.end(), one.begin(), one.end());
    };
    for (int64_t head = 0; head < heads; ++head) {
      const int64_t first = head * (nope + out);
      for (int64_t column = 0; column < rank; ++column) {
        for (int64_t row = first; row < first + nope; ++row) append(row, column, keys);
      }
      for (int64_t row = first + nope; row < first + nope + out; ++row) {
        for (int64_t column = 0; column < rank; ++column) append(row, column, values);
      }
    }
    const std::string layer = known.substr(0, known.size() - std::string_view("attn_kv_b.weight").size());
    const auto put = [&](const char* own, std::vector<int64_t> shape, std::vector<std::byte> bytes) {
      const int64_t count = shape[0] * shape[1] * shape[2];
      add(name, layer + own, {view.dtype, std::move(shape), count, storage_.keep(std::move(bytes))}, path);
    };
    put("attn_k_b.weight", {heads, rank, nope}, std::move(keys));
    put("attn_v_b.weight", {heads, out, rank}, std::move(values));
  }

  RowOrder order() const { return {static_cast<uint64_t>(config_.head_dim)}; }

  static bool is_query_or_key(std::string_view name) {
    return name.ends_with(".attn_q.weight") || name.ends_with(".attn_k.weight") ||
           name.ends_with(".attn_q.bias") || name.ends_with(".attn_k.bias");
  }

  /// Matrices that llama.cpp's converter keeps in f32.
  static bool chooses_experts(std::string_view name) {
    return name.ends_with(".ffn_gate_inp.weight") || name.ends_with(".ffn_gate_inp_shexp.weight");
  }

  /// In f32, ready to be used.
  void make_vector(Tensor& tensor, std::vector<float> values, bool in_halves) {
    if (config_.kind != nullptr && tensor.name.ends_with("norm.weight")) {
      for (float& value : values) value += static_cast<float>(config_.kind->norm_offset);
    }
    if (in_halves && values.size() % static_cast<size_t>(config_.head_dim) == 0) {
      const std::vector<float> stored = values;
      for (size_t i = 0; i < values.size(); ++i) values[i] = stored[order().stored(i)];
    }
    set_floats(tensor, values);
  }

  void set_floats(Tensor& tensor, const std::vector<float>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    tensor.type = TensorType::f32;
    tensor.data = storage_.keep(std::vector(bytes.begin(), bytes.end()));
  }

  void add_rope_factors(std::string_view name, const std::vector<float>& factors) {
    if (factors.empty()) return;
    Tensor tensor;
    tensor.name = name;
    tensor.n_dims = 1;
    tensor.dims[0] = factors.size();
    set_floats(tensor, factors);
    tensors_.push_back(tensor);
  }

  const CheckpointConfig& config_;
  Storage& storage_;
  ModelFile& file_;
  TensorTable stored_;
  std::vector<Tensor> tensors_;
};

}  // namespace

ModelFile open_checkpoint(const std::string& name) {
  std::string path = name;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  const fs::path directory(path);
  const std::string config_path = (directory / "config.json").string();
  if (!lies_there(config_path)) {
    if (!lies_there(directory / kWhole) && !lies_there(directory / kIndex)) fail_no_weights(directory);
    fail_input("{}: has no config.json: a checkpoint of Hugging Face needs one", path);
  }
  MappedFile config_map(config_path);
  ModelFile file(path, "safetensors");
  const auto storage = std::make_shared<Storage>();
  MetadataBuilder metadata(*storage);
  const nlohmann::json config_json = parse_json(config_map.text(), config_path);
  const CheckpointConfig config = read_checkpoint_config(config_json, config_path, metadata);
  const std::span<const std::byte> config_bytes = config_map.bytes();
  file.add_part({"config.json", config_bytes, std::move(config_map)});
  Tensors(config, *storage, file).read(directory);
  file.set_names([architecture = config.architecture](std::string_view gguf) {
    return checkpoint_name(gguf, *architecture);
  });
  const Tensor* table = file.find_tensor("token_embd.weight");
  file.set_tokenizer(
      read_tokenizer_files(path, config_json, table == nullptr ? 0 : table->dims[1], metadata));
  file.set_metadata(metadata.take());
  file.keep(storage);
  return file;
}

}  // namespace greta

#pragma once
// A Hugging Face checkpoint on disk for tests and fuzzers: a llama of 2 layers, n_embd 8, 2 heads of 4, 1 KV
// head, n_ff 6, 10 tokens, its own output matrix, whatever dtype; files can be replaced.

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "io/output_file.h"
#include "io/safetensors.h"
#include "io/scratch.h"

namespace greta::test {

inline nlohmann::json tiny_config() {
  return {{"model_type", "llama"},
          {"hidden_size", 8},
          {"num_hidden_layers", 2},
          {"intermediate_size", 6},
          {"num_attention_heads", 2},
          {"num_key_value_heads", 1},
          {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-5},
          {"vocab_size", 10},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", false}};
}

/// Values of tensor i: 0, 1, 2, ... of f32, times `scale`.
inline NamedBytes tiny_tensor(std::string name, std::vector<int64_t> shape, float scale = 1) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  NamedBytes tensor{std::move(name), "F32", std::move(shape), {}};
  for (int64_t i = 0; i < count; ++i) {
    const float value = scale * static_cast<float>(i);
    const auto bytes = std::as_bytes(std::span(&value, 1));
    tensor.data.insert(tensor.data.end(), bytes.begin(), bytes.end());
  }
  return tensor;
}

inline std::vector<NamedBytes> tiny_tensors() {
  std::vector<NamedBytes> all = {tiny_tensor("model.embed_tokens.weight", {10, 8}),
                                 tiny_tensor("model.norm.weight", {8}),
                                 tiny_tensor("lm_head.weight", {10, 8})};
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    all.push_back(tiny_tensor(layer + "input_layernorm.weight", {8}));
    all.push_back(tiny_tensor(layer + "self_attn.q_proj.weight", {8, 8}));
    all.push_back(tiny_tensor(layer + "self_attn.k_proj.weight", {4, 8}));
    all.push_back(tiny_tensor(layer + "self_attn.v_proj.weight", {4, 8}));
    all.push_back(tiny_tensor(layer + "self_attn.o_proj.weight", {8, 8}));
    all.push_back(tiny_tensor(layer + "post_attention_layernorm.weight", {8}));
    all.push_back(tiny_tensor(layer + "mlp.gate_proj.weight", {6, 8}));
    all.push_back(tiny_tensor(layer + "mlp.up_proj.weight", {6, 8}));
    all.push_back(tiny_tensor(layer + "mlp.down_proj.weight", {8, 6}));
  }
  return all;
}

/// Bytes of three letters and a space, two merges, <s> first, <tag> stripping the white space around it.
inline nlohmann::json tiny_tokenizer_json() {
  return nlohmann::json::parse(R"({
    "added_tokens": [
      {"id": 0, "content": "<s>", "special": true, "normalized": false},
      {"id": 8, "content": "<tag>", "lstrip": true, "rstrip": true, "special": false, "normalized": false}],
    "normalizer": null,
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "\\s?\\p{L}+|\\s+"}, "behavior": "Isolated", "invert": false},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 1, "b": 2, "c": 3, "Ġ": 4, "ab": 5, "abc": 6, "Ġa": 7},
              "merges": [["a", "b"], "ab c", ["Ġ", "a"]]}})");
}

class TinyCheckpoint {
 public:
  TinyCheckpoint() : directory_("greta-checkpoint") {
    write("config.json", tiny_config().dump());
    write("tokenizer.json", tiny_tokenizer_json().dump());
    write_tensors("model.safetensors", tiny_tensors());
  }

  std::string path() const { return directory_.path(); }
  void write(const std::string& name, std::string_view bytes) const {
    std::ofstream(path() + "/" + name, std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  void write_tensors(const std::string& name, const std::vector<NamedBytes>& tensors) const {
    remove(name);
    OutputFile file(path() + "/" + name);
    write_safetensors(file, std::span<const NamedBytes>(tensors));
    file.close();
  }
  void remove(const std::string& name) const { std::filesystem::remove(path() + "/" + name); }
  /// config.json with other fields; null takes one away.
  void change_config(const nlohmann::json& fields) const {
    nlohmann::json config = tiny_config();
    if (fields.is_object()) config.merge_patch(fields);
    write("config.json", config.dump());
  }

 private:
  ScratchDirectory directory_;
};

}  // namespace greta::test

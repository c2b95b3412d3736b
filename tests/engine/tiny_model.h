#pragma once
// A small random llama of any weight type, and an engine on it: every op, shape and route in milliseconds.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/half.h"
#include "engine/session.h"
#include "kernels/file_rows.h"
#include "model/gguf.h"
#include "model/gguf_builder.h"

namespace greta::test {

/// Repeatable noise: PCG-like, no library differences.
class Noise {
 public:
  explicit Noise(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  uint32_t bits() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 33);
  }
  /// In [-1, 1).
  float next() { return static_cast<float>(static_cast<int32_t>(bits() % 65536) - 32768) / 32768.0f; }

 private:
  uint64_t state_;
};

/// `n` random values of a weight type; quantised types get random codes and scales around `scale`.
inline Bytes random_weight(TensorType type, uint64_t n, float scale, Noise& noise) {
  if (type != TensorType::q4_1 && type != TensorType::q8_0 && info(type).block > 1) {
    const std::vector<std::byte> rows = file_rows(type, 1, static_cast<int64_t>(n), noise.bits(), scale / 3);
    return {reinterpret_cast<const char*>(rows.data()), rows.size()};
  }
  Bytes data;
  const auto half = [&](float value) { data += raw(f32_to_f16(value)); };
  const auto codes = [&](int count) {
    for (int i = 0; i < count; ++i) data += raw(static_cast<uint8_t>(noise.bits()));
  };
  for (uint64_t i = 0; i < n; i += info(type).block) {
    switch (type) {
      case TensorType::f32: data += raw(scale * noise.next()); break;
      case TensorType::f16: half(scale * noise.next()); break;
      case TensorType::bf16: data += raw(f32_to_bf16(scale * noise.next())); break;
      case TensorType::q8_0:
        half(scale / 127 * (1 + noise.next() / 4));
        codes(32);
        break;
      case TensorType::q4_1:
        half(scale / 8 * (1 + noise.next() / 4));
        half(-scale * (1 + noise.next() / 4));
        codes(16);
        break;
      default: break;  // done above
    }
  }
  return data;
}

/// llama: 2 layers, n_embd 64, n_ff 96, 4 heads of 16, 2 KV heads, 80 tokens, context 1024, tied output.
/// Matrices are of `type`, the embedding of `embedding_type`. Types with blocks of 256: n_embd and n_ff 256.
inline Bytes random_llama(TensorType type, TensorType embedding_type = TensorType::q8_0) {
  Noise noise(7);
  const bool wide = info(type).block == 256;
  const uint32_t n_embd = wide ? 256 : 64, n_ff = wide ? 256 : 96;
  GgufBuilder file;
  file.set_string("general.architecture", "llama")
      .set_string("general.name", "random")
      .set<uint32_t>("llama.block_count", 2)
      .set<uint32_t>("llama.context_length", 1024)
      .set<uint32_t>("llama.embedding_length", n_embd)
      .set<uint32_t>("llama.feed_forward_length", n_ff)
      .set<uint32_t>("llama.attention.head_count", 4)
      .set<uint32_t>("llama.attention.head_count_kv", 2)
      .set<float>("llama.attention.layer_norm_rms_epsilon", 1e-5f)
      .set<float>("llama.rope.freq_base", 10000.0f)
      .set<uint32_t>("llama.rope.dimension_count", n_embd / 4);
  const auto matrix = [&](const std::string& name, uint64_t k, uint64_t n, TensorType t) {
    file.tensors.push_back(
        {name, {k, n}, static_cast<uint32_t>(t), random_weight(t, k * n, 0.3f, noise), {}, {}});
  };
  const auto norm = [&](const std::string& name) {
    Bytes data;
    for (uint32_t i = 0; i < n_embd; ++i) data += raw(1.0f + noise.next() / 2);
    file.tensors.push_back({name, {n_embd}, 0, data, {}, {}});
  };
  matrix("token_embd.weight", n_embd, 80, embedding_type);
  norm("output_norm.weight");
  for (const std::string layer : {"blk.0.", "blk.1."}) {
    norm(layer + "attn_norm.weight");
    matrix(layer + "attn_q.weight", n_embd, n_embd, type);
    matrix(layer + "attn_k.weight", n_embd, n_embd / 2, type);
    matrix(layer + "attn_v.weight", n_embd, n_embd / 2, type);
    matrix(layer + "attn_output.weight", n_embd, n_embd, type);
    norm(layer + "ffn_norm.weight");
    matrix(layer + "ffn_gate.weight", n_embd, n_ff, type);
    matrix(layer + "ffn_up.weight", n_embd, n_ff, type);
    matrix(layer + "ffn_down.weight", n_ff, n_embd, type);
  }
  return file.build();
}

/// The same with 5 experts of n_ff 64 (types with blocks of 256: 256), of which a token has 2; routers are
/// f32.
inline Bytes random_mixtral(TensorType type) {
  Noise noise(17);
  const bool wide = info(type).block == 256;
  const uint64_t n_embd = wide ? 256 : 64, n_ff = wide ? 256 : 64, experts = 5;
  const Bytes dense = random_llama(type);
  const ModelFile llama = parse_gguf(std::as_bytes(std::span(dense)), "random.gguf");
  GgufBuilder file;
  file.set_string("general.architecture", "llama")
      .set_string("general.name", "random")
      .set<uint32_t>("llama.block_count", 2)
      .set<uint32_t>("llama.context_length", 1024)
      .set<uint32_t>("llama.embedding_length", static_cast<uint32_t>(n_embd))
      .set<uint32_t>("llama.feed_forward_length", static_cast<uint32_t>(n_ff))
      .set<uint32_t>("llama.expert_count", static_cast<uint32_t>(experts))
      .set<uint32_t>("llama.expert_used_count", 2)
      .set<uint32_t>("llama.attention.head_count", 4)
      .set<uint32_t>("llama.attention.head_count_kv", 2)
      .set<float>("llama.attention.layer_norm_rms_epsilon", 1e-5f)
      .set<uint32_t>("llama.rope.dimension_count", static_cast<uint32_t>(n_embd / 4));
  const auto add = [&](const std::string& name, std::vector<uint64_t> dims, TensorType t, Bytes data) {
    file.tensors.push_back({name, std::move(dims), static_cast<uint32_t>(t), std::move(data), {}, {}});
  };
  for (const Tensor& tensor : llama.tensors()) {
    if (tensor.name.find("ffn_gate") != tensor.name.npos || tensor.name.find("ffn_up") != tensor.name.npos ||
        tensor.name.find("ffn_down") != tensor.name.npos)
      continue;
    const auto n_dims = static_cast<size_t>(tensor.n_dims);
    add(std::string(tensor.name), {tensor.dims.begin(), tensor.dims.begin() + static_cast<ptrdiff_t>(n_dims)},
        tensor.type, Bytes(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size()));
  }
  for (const std::string layer : {"blk.0.", "blk.1."}) {
    add(layer + "ffn_gate_inp.weight", {n_embd, experts}, TensorType::f32,
        random_weight(TensorType::f32, n_embd * experts, 0.3f, noise));
    for (const std::string name : {"ffn_gate_exps.weight", "ffn_up_exps.weight"})
      add(layer + name, {n_embd, n_ff, experts}, type,
          random_weight(type, n_embd * n_ff * experts, 0.3f, noise));
    add(layer + "ffn_down_exps.weight", {n_ff, n_embd, experts}, type,
        random_weight(type, n_embd * n_ff * experts, 0.3f, noise));
  }
  return file.build();
}

/// The bytes and the engine that reads them.
struct TinyEngine {
  Bytes bytes;
  Engine engine;

  explicit TinyEngine(TensorType type, EngineOptions options = {1, best_isa(), Format::f32})
      : bytes(random_llama(type)),
        engine(bind_model(parse_gguf(std::as_bytes(std::span(bytes)), "random.gguf")), options) {}
};

inline std::vector<int32_t> random_tokens(int64_t n) {
  Noise noise(11);
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < n; ++i) tokens.push_back(static_cast<int32_t>(noise.bits() % 80));
  return tokens;
}

}  // namespace greta::test

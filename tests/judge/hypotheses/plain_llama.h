#pragma once
// Another engine: a llama in plain loops of doubles, every stage rounded to f32 once. It makes the mistakes
// that a test tells it to make and records all stages, those after a mistake with what follows from it. It
// shares no code with the engine, the oracle or the hypotheses.

#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "engine/tiny_model.h"
#include "model/gguf.h"
#include "record/matrix.h"

namespace greta::test {

using Row = std::vector<float>;

/// A weight [n, k] as f64.
struct PlainMatrix {
  size_t n = 0, k = 0;
  std::vector<double> w = {};
  double& at(size_t row, size_t column) { return w[row * k + column]; }
  double at(size_t row, size_t column) const { return w[row * k + column]; }
};

/// 32 weights of a Q4_1 or Q8_0 block: d * code + m.
struct PlainBlock {
  double d = 0, m = 0;
  int code[32] = {};
  double value(size_t i) const { return d * code[i] + m; }
};

inline std::vector<PlainBlock> plain_blocks(const Tensor& tensor) {
  const bool nibbles = tensor.type == TensorType::q4_1;
  const size_t bytes = nibbles ? 20 : 34;
  const auto* data = reinterpret_cast<const uint8_t*>(tensor.data.data());
  const auto half = [](const uint8_t* at) {
    uint16_t bits = 0;
    std::memcpy(&bits, at, 2);
    return static_cast<double>(f16_to_f32(bits));
  };
  std::vector<PlainBlock> blocks(tensor.data.size() / bytes);
  for (PlainBlock& block : blocks) {
    block.d = half(data);
    if (nibbles) block.m = half(data + 2);
    for (size_t i = 0; i < 32; ++i) {
      if (nibbles) {
        block.code[i] = i < 16 ? data[4 + i] & 15 : data[4 + i - 16] >> 4;
      } else {
        block.code[i] = static_cast<int8_t>(data[2 + i]);
      }
    }
    data += bytes;
  }
  return blocks;
}

inline PlainMatrix plain_matrix(const Tensor& tensor) {
  PlainMatrix matrix{static_cast<size_t>(tensor.dims[1]), static_cast<size_t>(tensor.dims[0])};
  if (tensor.type == TensorType::f32) {
    std::vector<float> values(tensor.data.size() / 4);
    std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
    matrix.w.assign(values.begin(), values.end());
  } else {
    for (const PlainBlock& block : plain_blocks(tensor)) {
      for (size_t i = 0; i < 32; ++i) matrix.w.push_back(block.value(i));
    }
  }
  return matrix;
}

inline Row times(const PlainMatrix& matrix, const Row& x) {
  Row y(matrix.n);
  for (size_t i = 0; i < matrix.n; ++i) {
    double sum = 0;
    for (size_t j = 0; j < matrix.k; ++j) sum += matrix.at(i, j) * static_cast<double>(x[j]);
    y[i] = static_cast<float>(sum);
  }
  return y;
}

inline Row normed(const Row& x, const PlainMatrix& weight, double eps) {
  double square = 0;
  for (const float value : x) square += static_cast<double>(value) * static_cast<double>(value);
  const double r = 1 / std::sqrt(square / static_cast<double>(x.size()) + eps);
  Row y(x.size());
  for (size_t i = 0; i < x.size(); ++i)
    y[i] = static_cast<float>(static_cast<double>(x[i]) * r * weight.w[i]);
  return y;
}

/// What may be wrong about a rotation: its angle, and which two elements of a head are a pair.
struct PlainRope {
  std::function<double(size_t pair)> angle;
  size_t dims = 16;
  bool halves = false;
};

inline Row rotated(const Row& x, size_t head_dim, const PlainRope& rope) {
  Row y = x;
  for (size_t head = 0; head < x.size(); head += head_dim) {
    for (size_t pair = 0; pair < rope.dims / 2; ++pair) {
      const size_t a = head + (rope.halves ? pair : 2 * pair);
      const size_t b = rope.halves ? a + rope.dims / 2 : a + 1;
      const double c = std::cos(rope.angle(pair)), s = std::sin(rope.angle(pair));
      const double xa = static_cast<double>(x[a]), xb = static_cast<double>(x[b]);
      y[a] = static_cast<float>(xa * c - xb * s);
      y[b] = static_cast<float>(xa * s + xb * c);
    }
  }
  return y;
}

/// f of the elements of two rows.
inline Row zipped(const Row& a, const Row& b, const std::function<double(double, double)>& f) {
  Row y(a.size());
  for (size_t i = 0; i < a.size(); ++i)
    y[i] = static_cast<float>(f(static_cast<double>(a[i]), static_cast<double>(b[i])));
  return y;
}

inline Row mapped(const Row& a, const std::function<double(double)>& f) {
  return zipped(a, a, [&](double x, double) { return f(x); });
}

inline double silu(double x) { return x / (1 + std::exp(-x)); }

/// One block of tokens of a prompt, run on what the cache holds. Rows by position.
struct PlainRun {
  const Model* model = nullptr;
  std::vector<int32_t> tokens = {};  // of the prompt
  bool prefill = true;
  int64_t first = 0;  // position of the block's first row; its last is the prompt's
  std::map<std::pair<int, Stage>, std::map<int64_t, Row>> rows = {};
  std::map<int, std::vector<Row>> cache = {};  // by layer: key and value of each position
  const PlainRun* before = nullptr;            // of a decode: its prefill

  int64_t n_pos() const { return std::ssize(tokens); }
};

/// One row of one stage, and what it may be computed from.
struct PlainSite {
  const PlainRun& run;
  Stage stage;
  int layer;
  int64_t position;

  const ModelConfig& config() const { return run.model->config; }
  const std::vector<Row>& cache(int of_layer) const { return run.cache.at(of_layer); }
  /// Rows of the same layer (after the layers: of the last).
  const Row& in(Stage from) const { return in(from, position); }
  const Row& in(Stage from, int64_t at) const {
    const bool last = is_outside_layers(stage) && !is_outside_layers(from);
    return run.rows.at({last ? static_cast<int>(config().n_layer) - 1 : layer, from}).at(at);
  }
  const Tensor& tensor(Stage of, int of_layer) const {
    const Model& m = *run.model;
    if (of == Stage::x_in) return *m.token_embd;
    if (of == Stage::final_norm) return *m.output_norm;
    if (of == Stage::logits) return *m.output;
    return *m.layers[static_cast<size_t>(of_layer)].of(of);
  }
  PlainMatrix weight() const { return plain_matrix(tensor(stage, layer)); }
  Row times_input(const PlainMatrix& matrix) const { return times(matrix, in(common_input(stage))); }
  double angle(size_t pair) const {
    return static_cast<double>(position) *
           std::pow(config().rope_base,
                    -2.0 * static_cast<double>(pair) / static_cast<double>(config().rope_dims));
  }
  Row rope(const PlainRope& how) const {
    return rotated(in(stage == Stage::q_rope ? Stage::q : Stage::k), static_cast<size_t>(config().head_dim),
                   how);
  }

  /// What attention does at the row's heads: `visible` positions, `slot` of a position, KV head of a head.
  struct Reading {
    std::function<bool(int64_t p)> visible = {};
    std::function<int64_t(int64_t p)> slot = {};
    std::function<size_t(size_t head)> kv_head = {};
    double scale = 0;
    int layer = -2;  // whose cache; -2: its own
  };
  double dot(const Reading& how, size_t head, int64_t p) const;
  Row scores(const Reading& how) const;
  Row weights_of(const std::function<double(double)>& exponent, double add_to_sum = 0) const;
  Row values(const Reading& how) const;
  Row right() const;

 private:
  const float* cached(const Reading& how, size_t head, int64_t p, bool value) const {
    const size_t d = static_cast<size_t>(config().head_dim), kv = static_cast<size_t>(config().n_head_kv);
    const size_t kv_head =
        how.kv_head ? how.kv_head(head) : head / (static_cast<size_t>(config().n_head) / kv);
    const int64_t slot = how.slot ? how.slot(p) : p;
    return &cache(how.layer == -2 ? layer
                                  : how.layer)[static_cast<size_t>(slot)][(value ? kv * d : 0) + kv_head * d];
  }
  bool sees(const Reading& how, int64_t p) const { return how.visible ? how.visible(p) : p <= position; }
};

inline double PlainSite::dot(const Reading& how, size_t head, int64_t p) const {
  const size_t d = static_cast<size_t>(config().head_dim);
  const float* key = cached(how, head, p, false);
  double sum = 0;
  for (size_t i = 0; i < d; ++i)
    sum += static_cast<double>(in(Stage::q_rope)[head * d + i]) * static_cast<double>(key[i]);
  return sum;
}

inline Row PlainSite::scores(const Reading& how) const {
  const double scale = how.scale == 0 ? 1 / std::sqrt(static_cast<double>(config().head_dim)) : how.scale;
  Row y;
  for (size_t head = 0; head < static_cast<size_t>(config().n_head); ++head) {
    for (int64_t p = 0; p < run.n_pos(); ++p)
      y.push_back(sees(how, p) ? static_cast<float>(dot(how, head, p) * scale) : -INFINITY);
  }
  return y;
}

/// exponent(score) over its sum, head by head; the maximum is not taken off.
inline Row PlainSite::weights_of(const std::function<double(double)>& exponent, double add_to_sum) const {
  const Row& s = in(Stage::qk);
  const size_t n = static_cast<size_t>(run.n_pos());
  Row y(s.size());
  for (size_t begin = 0; begin < s.size(); begin += n) {
    double sum = add_to_sum;
    for (size_t i = begin; i < begin + n; ++i) sum += exponent(static_cast<double>(s[i]));
    for (size_t i = begin; i < begin + n; ++i)
      y[i] = static_cast<float>(exponent(static_cast<double>(s[i])) / sum);
  }
  return y;
}

inline Row PlainSite::values(const Reading& how) const {
  const size_t d = static_cast<size_t>(config().head_dim), n = static_cast<size_t>(run.n_pos());
  Row y;
  for (size_t head = 0; head < static_cast<size_t>(config().n_head); ++head) {
    for (size_t i = 0; i < d; ++i) {
      double sum = 0;
      for (size_t p = 0; p < n; ++p) {
        if (!sees(how, static_cast<int64_t>(p))) continue;
        sum += static_cast<double>(in(Stage::softmax)[head * n + p]) *
               static_cast<double>(cached(how, head, static_cast<int64_t>(p), true)[i]);
      }
      y.push_back(static_cast<float>(sum));
    }
  }
  return y;
}

inline Row PlainSite::right() const {
  using enum Stage;
  const auto sum = [](double a, double b) { return a + b; };
  switch (stage) {
    case x_in: {
      if (layer > 0) return run.rows.at({layer - 1, x_out}).at(position);
      const PlainMatrix table = weight();
      const auto begin =
          table.w.begin() + run.tokens[static_cast<size_t>(position)] * static_cast<int64_t>(table.k);
      return {begin, begin + static_cast<int64_t>(table.k)};
    }
    case attn_norm: return normed(in(x_in), weight(), config().norm_eps);
    case ffn_norm: return normed(in(x_attn), weight(), config().norm_eps);
    case final_norm: return normed(in(x_out), weight(), config().norm_eps);
    case q_rope:
    case k_rope:
      return rope({[this](size_t pair) { return angle(pair); }, static_cast<size_t>(config().rope_dims)});
    case kv_write: {
      Row row = in(k_rope);
      row.insert(row.end(), in(v).begin(), in(v).end());
      return row;
    }
    case qk: return scores({});
    case softmax: return weights_of([](double s) { return std::exp(s); });
    case pv: return values({});
    case x_attn: return zipped(in(x_in), in(attn_out), sum);
    case x_out: return zipped(in(x_attn), in(down), sum);
    case act: return zipped(in(gate), in(up), [](double g, double u) { return silu(g) * u; });
    default: return times_input(weight());
  }
}

/// A mistake at one place, in "prefill", "decode" or "both".
struct Mistake {
  Stage stage = Stage::q;
  int layer = 0;
  std::function<Row(const PlainSite& site)> wrong = {};
  std::string phase = "both";
  /// Of kv_write, in the place of writing row by row. The block's slots are NaN, `own` is what belongs there.
  std::function<void(std::vector<Row>& cache, const std::vector<Row>& own)> write = {};
};

/// Which rows of which stages a prefill records besides its last row; by default as GRETA does.
struct PlainScope {
  std::function<bool(Stage stage, int64_t position)> rows = [](Stage stage, int64_t position) {
    return stage <= Stage::ffn_norm || (stage < Stage::x_out && position < 3);
  };
};

class PlainLlama {
 public:
  explicit PlainLlama(TensorType type)
      : bytes_(random_llama(type, type == TensorType::f32 ? TensorType::f32 : TensorType::q8_0)),
        model_(bind_model(parse_gguf(std::as_bytes(std::span(bytes_)), "plain.gguf"))) {}
  PlainLlama(const PlainLlama&) = delete;
  PlainLlama& operator=(const PlainLlama&) = delete;

  const Model& model() const { return model_; }

  /// Prompts through prefill and decode0 (the last token again), as a bundle of E0.
  Bundle record(const std::vector<Mistake>& mistakes, const std::vector<std::vector<int32_t>>& prompts,
                const PlainScope& scope = {}) const {
    nlohmann::json manifest{{"schema", "greta.trace/1"}, {"shared_cache", true}, {"aligned", true}};
    // It computes in doubles and says f32, so that what is wrong is a mistake and no arithmetic to be
    // inferred.
    manifest["kernels"] = {{"plain", {{"activation", "f32"}, {"accumulator", "f32"}, {"output", "f32"}}}};
    manifest["experiments"] = {{{"name", "E0"}, {"force_route", "auto"}, {"force_gemm", false}}};
    for (size_t i = 0; i < prompts.size(); ++i)
      manifest["prompts"].push_back({{"id", "p" + std::to_string(i)}, {"text", ""}, {"tokens", prompts[i]}});
    Bundle bundle;
    bundle.manifest = manifest;
    for (size_t i = 0; i < prompts.size(); ++i) {
      const std::string id = "p" + std::to_string(i);
      PlainRun prefill{&model_, prompts[i], true, 0};
      forward(prefill, mistakes);
      write(bundle, id, kPrefill, prefill, scope.rows);
      const int64_t last = prefill.n_pos() - 1;
      const auto last_only = [last](Stage, int64_t position) { return position == last; };
      write(bundle, id, kPrefillLast, prefill, last_only);
      PlainRun decode{&model_, prompts[i], false, last};
      decode.before = &prefill;
      decode.cache = prefill.cache;
      forward(decode, mistakes);
      write(bundle, id, kDecode0, decode, last_only);
    }
    return bundle;
  }

 private:
  static const Mistake* mistake_at(const std::vector<Mistake>& mistakes, const PlainSite& site) {
    for (const Mistake& m : mistakes) {
      const bool phase = m.phase == "both" || (m.phase == "prefill") == site.run.prefill;
      if (phase && m.stage == site.stage && m.layer == site.layer) return &m;
    }
    return nullptr;
  }

  static void make(PlainRun& run, Stage stage, int layer, const std::vector<Mistake>& mistakes) {
    std::map<int64_t, Row>& rows = run.rows[{layer, stage}];
    const Mistake* mistake = nullptr;
    for (int64_t position = run.first; position < run.n_pos(); ++position) {
      const PlainSite site{run, stage, layer, position};
      mistake = mistake_at(mistakes, site);
      rows[position] = mistake != nullptr && mistake->wrong ? mistake->wrong(site) : site.right();
    }
    if (stage != Stage::kv_write) return;
    std::vector<Row>& cache = run.cache[layer];
    std::vector<Row> own;
    for (const auto& [position, row] : rows) own.push_back(row);
    cache.resize(static_cast<size_t>(run.first));
    cache.resize(static_cast<size_t>(run.n_pos()), Row(own[0].size(), NAN));
    if (mistake != nullptr && mistake->write) {
      mistake->write(cache, own);
    } else {
      std::copy(own.begin(), own.end(), cache.begin() + run.first);
    }
  }

  static void forward(PlainRun& run, const std::vector<Mistake>& mistakes) {
    for (int layer = 0; layer < static_cast<int>(run.model->config.n_layer); ++layer) {
      for (int i = 0; i < kStageCount; ++i) {
        const Stage stage = static_cast<Stage>(i);
        if (is_outside_layers(stage) || few_have(stage)) continue;  // a llama has none
        make(run, stage, layer, mistakes);
      }
    }
    make(run, Stage::final_norm, kNoLayer, mistakes);
    make(run, Stage::logits, kNoLayer, mistakes);
  }

  static void write(Bundle& bundle, const std::string& prompt, const std::string& phase, const PlainRun& run,
                    const std::function<bool(Stage, int64_t)>& wanted) {
    for (const auto& [at, rows] : run.rows) {
      Event event;
      event.cell = "E0/" + prompt;
      event.experiment = "E0";
      event.prompt_id = prompt;
      event.phase = phase;
      event.layer = at.first;
      event.stage = name(at.second);
      event.kernel = "plain";
      event.launches = 1;
      std::vector<int64_t> positions;
      Row data;
      const bool cache = at.second == Stage::kv_write;
      for (int64_t p = cache ? 0 : run.first; p < run.n_pos(); ++p) {
        if (!cache && !wanted(at.second, p)) continue;
        const Row& row = cache ? run.cache.at(at.first)[static_cast<size_t>(p)] : rows.at(p);
        positions.push_back(p);
        data.insert(data.end(), row.begin(), row.end());
      }
      if (positions.empty()) continue;
      const int64_t n = std::ssize(positions);
      const bool scores = at.second == Stage::qk || at.second == Stage::softmax;
      const int64_t heads = scores ? run.model->config.n_head : 1;
      event.positions = packed_positions(positions);
      event.shape = scores ? std::vector<int64_t>{n, heads, std::ssize(data) / n / heads}
                           : std::vector<int64_t>{n, std::ssize(data) / n};
      bundle.add(std::move(event), data);
    }
  }

  Bytes bytes_;
  Model model_;
};

/// One of each type, made once.
inline const PlainLlama& plain_llama(TensorType type = TensorType::f32) {
  static std::map<TensorType, PlainLlama> all;
  return all.try_emplace(type, type).first->second;
}

}  // namespace greta::test

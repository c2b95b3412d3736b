#pragma once
// An engine of plain f32 loops for each op, right and with bugs, and what it records as a bundle.

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>

#include "base/half.h"
#include "judge/op_judge.h"

namespace greta::op_cases {

using Floats = std::vector<float>;
using Shape = std::vector<int64_t>;

inline Floats random_floats(size_t count, uint32_t seed, float size = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, size);
  Floats values(count);
  for (float& value : values) value = bf16_to_f32(f32_to_bf16(normal(random)));  // exact in either format
  return values;
}

inline size_t count_of(const Shape& shape) {
  return static_cast<size_t>(std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()));
}

struct Input {
  Shape shape;
  Floats values;
};

inline Input some(Shape shape, uint32_t seed, float size = 1) {
  return {shape, random_floats(count_of(shape), seed, size)};
}

/// The engine: the op's result from its inputs; bug 0 is none.
using Engine = std::function<Floats(const std::vector<Input>& in, int bug)>;

struct OpCase {
  std::string label, op;
  std::vector<Input> inputs;
  std::map<std::string, OpAttribute> attributes;
  Shape output;
  Engine engine;
  int bugs = 2;
  std::vector<std::string> names = {};  // of the bugs, as far as they have one
  bool exact = false;                   // results are indices: there is no bf16
};

inline void PrintTo(const OpCase& c, std::ostream* out) { *out << c.label; }

inline Event event_of(const std::string& name, const Shape& shape, const std::string& phase = "decode0") {
  Event event;
  event.cell = "E0/p", event.experiment = "E0", event.prompt_id = "p";
  event.phase = phase;
  event.name = name;
  event.shape = shape;
  event.positions = {0, std::max<int64_t>(shape.empty() ? 1 : shape.front(), 1) - 1};
  return event;
}

inline Bundle recorded(const OpCase& c, int bug, bool bf16) {
  Bundle bundle;
  bundle.path = "ops";
  bundle.manifest = {{"schema", kBundleSchema}, {"engine", "test"}};
  Event op = event_of("y", c.output);
  op.op = c.op;
  op.attributes = c.attributes;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    op.inputs.push_back("in" + std::to_string(i));
    bundle.add(event_of(op.inputs.back(), c.inputs[i].shape), c.inputs[i].values);
  }
  Floats result = c.engine(c.inputs, bug);
  if (bf16) {
    op.dtype = "bf16";
    for (float& value : result) value = bf16_to_f32(f32_to_bf16(value));
  }
  bundle.add(op, result);
  return bundle;
}

inline JudgedOp judged(const Bundle& bundle) {
  const std::vector<JudgedOp> ops = judge_ops(bundle, nullptr);
  return ops.empty() ? JudgedOp{} : ops.back();
}

inline Floats dot_rows(std::span<const float> w, const Floats& x, size_t n, size_t k, int bug) {
  Floats y;
  for (size_t r = 0; r < x.size() / k; ++r) {
    for (size_t i = 0; i < n; ++i) {
      float sum = 0;
      const size_t end = bug == 1 ? k - 16 : k;  // a tail that is left out
      for (size_t j = 0; j < end; ++j)
        sum += x[r * k + j] * w[bug == 2 ? j * n + i : i * k + j];  // column-major
      y.push_back(sum);
    }
  }
  return y;
}

inline Floats soft_max_rows(const std::vector<Input>& in, size_t heads, size_t n, float scale, float cap,
                            int bug) {
  Floats y;
  for (size_t row = 0; row < in[0].values.size() / n; ++row) {
    Floats z(n);
    for (size_t i = 0; i < n; ++i) {
      z[i] = in[0].values[row * n + i] * (bug == 1 ? 1 : scale);
      if (cap > 0) z[i] = cap * std::tanh(z[i] / cap);
      if (in.size() > 1 && bug != 2) z[i] += in[1].values[row / heads * n + i];
    }
    float max = *std::max_element(z.begin(), z.end());
    const bool sinks = in.size() > 2 && bug != 3;
    if (sinks) max = std::max(max, in[2].values[row % heads]);
    float sum = sinks ? std::exp(in[2].values[row % heads] - max) : 0;
    for (float& value : z) sum += value = std::exp(value - max);
    for (const float value : z) y.push_back(value / (bug == 4 ? 1 : sum));
  }
  return y;
}

inline float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }
inline float silu(float x) { return x / (1 + std::exp(-x)); }
inline float gelu(float x) { return 0.5f * x * (1 + std::tanh(0.79788456f * x * (1 + 0.044715f * x * x))); }

inline Input mask(int64_t rows, int64_t n) {
  Input input{{rows, n}, {}};
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < n; ++i) input.values.push_back(i <= n - rows + r ? 0 : -INFINITY);
  }
  return input;
}

inline Floats each(const Floats& x, const std::function<float(float)>& function) {
  Floats y(x.size());
  std::transform(x.begin(), x.end(), y.begin(), function);
  return y;
}

inline Floats attend(const std::vector<Input>& in, int bug) {  // 3 rows, 4 heads over 2, 16 wide, 9 positions
  Floats y;
  for (size_t row = 0; row < 12; ++row) {
    const size_t kv = bug == 1 ? row % 4 % 2 : row % 4 / 2;
    Floats z(9);
    for (size_t i = 0; i < 9; ++i) {
      for (size_t j = 0; j < 16; ++j)
        z[i] += in[0].values[row * 16 + j] * in[1].values[(i * 2 + kv) * 16 + j];
      z[i] = z[i] * 0.25f + (bug == 2 ? 0 : in[3].values[row / 4 * 9 + i]);
    }
    const float max = *std::max_element(z.begin(), z.end());
    float sum = 0;
    for (float& value : z) sum += value = std::exp(value - max);
    for (size_t j = 0; j < 16; ++j) {
      float out = 0;
      for (size_t i = 0; i < (bug == 3 ? 8 : 9); ++i) out += z[i] * in[2].values[(i * 2 + kv) * 16 + j];
      y.push_back(out / sum);
    }
  }
  return y;
}

inline Floats scan(const std::vector<Input>& in,
                   int bug) {  // 1 sequence, 4 tokens, 2 heads of 3, 1 group, 5 states
  Floats state = in[0].values, y;
  for (size_t t = 0; t < 4; ++t) {
    for (size_t h = 0; h < 2; ++h) {
      const float raw = in[2].values[t * 2 + h], step = bug == 1 ? raw : std::log1p(std::exp(raw));
      for (size_t p = 0; p < 3; ++p) {
        float sum = 0;
        for (size_t n = 0; n < 5; ++n) {
          float& s = state[(h * 3 + p) * 5 + n];
          const float decay = std::exp(step * in[3].values[h]);
          s = s * (bug == 2 ? 1 : decay) + in[4].values[t * 5 + n] * in[1].values[(t * 2 + h) * 3 + p] * step;
          sum += s * in[5].values[t * 5 + n];
        }
        y.push_back(sum);
      }
    }
  }
  if (bug == 3) state = in[0].values;
  y.insert(y.end(), state.begin(), state.end());
  return y;
}

inline Floats delta(const std::vector<Input>& in, int bug) {  // 1 sequence, 3 tokens, 2 heads, 4 x 5
  Floats state = in[5].values, y;
  for (size_t row = 0; row < 6; ++row) {
    float* s = state.data() + row % 2 * 20;
    for (size_t i = 0; i < 20; ++i) s[i] *= bug == 1 ? 1 : std::exp(in[3].values[row]);
    for (size_t j = 0; j < 5; ++j) {
      float seen = 0, out = 0;
      for (size_t i = 0; i < 4; ++i) seen += s[i * 5 + j] * in[1].values[row * 4 + i];
      const float more = (in[2].values[row * 5 + j] - (bug == 2 ? 0 : seen)) * in[4].values[row];
      for (size_t i = 0; i < 4; ++i)
        out += (s[i * 5 + j] += in[1].values[row * 4 + i] * more) * in[0].values[row * 4 + i];
      y.push_back(out * 0.5f);
    }
  }
  y.insert(y.end(), state.begin(), state.end());
  return y;
}

inline std::vector<OpCase> cases() {
  std::vector<OpCase> all;
  all.push_back({"mul_mat",
                 "mul_mat",
                 {some({24, 64}, 1), some({5, 64}, 2)},
                 {},
                 {5, 24},
                 [](const auto& in, int bug) { return dot_rows(in[0].values, in[1].values, 24, 64, bug); },
                 2,
                 {"reduction_truncated", "weight_column_major"}});
  Input ids{{4, 2}, {0, 2, 1, 0, 2, 1, 0, 1}};
  all.push_back({"mul_mat_id",
                 "mul_mat_id",
                 {some({3, 16, 32}, 3), some({4, 32}, 4), ids},
                 {},
                 {4, 2, 16},
                 [](const auto& in, int bug) {
                   Floats y;
                   for (size_t r = 0; r < 8; ++r) {
                     const size_t id = static_cast<size_t>(in[2].values[r]),
                                  expert = bug == 1 ? (id + 1) % 3 : id;
                     const Floats x(in[1].values.begin() + static_cast<long>(r / 2 * 32),
                                    in[1].values.begin() + static_cast<long>(r / 2 * 32 + 32));
                     const Floats row = dot_rows(std::span(in[0].values).subspan(expert * 512, 512), x, 16,
                                                 32, bug == 2 ? 1 : 0);
                     y.insert(y.end(), row.begin(), row.end());
                   }
                   return y;
                 },
                 2,
                 {"wrong_layer_weight", "reduction_truncated"}});
  all.push_back(
      {"get_rows",
       "get_rows",
       {some({7, 24}, 5), {{3}, {6, 0, 3}}},
       {},
       {3, 24},
       [](const auto& in, int bug) {
         Floats y;
         for (const float id : in[1].values) {
           for (size_t i = 0; i < 24; ++i)
             y.push_back(
                 in[0].values[(bug == 1 ? 6 - static_cast<size_t>(id) : static_cast<size_t>(id)) * 24 + i] *
                 (bug == 2 ? 2.0f : 1.0f));
         }
         return y;
       }});
  all.push_back({"rms_norm",
                 "rms_norm",
                 {some({3, 48}, 6), some({48}, 7)},
                 {{"eps", 1e-3}},
                 {3, 48},
                 [](const auto& in, int bug) {
                   Floats y;
                   for (size_t r = 0; r < 3; ++r) {
                     float sum = 0;
                     for (size_t i = 0; i < 48; ++i)
                       sum += in[0].values[r * 48 + i] * in[0].values[r * 48 + i];
                     const float inverse =
                         1 / std::sqrt((bug == 1 ? sum : sum / 48) + (bug == 2 ? 0.1f : 1e-3f));
                     for (size_t i = 0; i < 48; ++i)
                       y.push_back(in[0].values[r * 48 + i] * inverse * (bug == 3 ? 1 : in[1].values[i]));
                   }
                   return y;
                 },
                 3});
  all.push_back({"norm",
                 "norm",
                 {some({3, 48}, 8), some({48}, 9), some({48}, 10)},
                 {{"eps", 1e-5}},
                 {3, 48},
                 [](const auto& in, int bug) {
                   Floats y;
                   for (size_t r = 0; r < 3; ++r) {
                     const float* x = in[0].values.data() + r * 48;
                     float mean = 0, sum = 0;
                     for (size_t i = 0; i < 48; ++i) mean += x[i] / 48;
                     if (bug == 1) mean = 0;
                     for (size_t i = 0; i < 48; ++i) sum += (x[i] - mean) * (x[i] - mean);
                     const float inverse = 1 / std::sqrt(sum / (bug == 2 ? 47 : 48) + 1e-5f);
                     for (size_t i = 0; i < 48; ++i)
                       y.push_back((x[i] - mean) * inverse * in[1].values[i] +
                                   (bug == 3 ? 0 : in[2].values[i]));
                   }
                   return y;
                 },
                 3});
  all.push_back(
      {"l2_norm", "l2_norm", {some({3, 48}, 11)}, {{"eps", 1e-6}}, {3, 48}, [](const auto& in, int bug) {
         Floats y;
         for (size_t r = 0; r < 3; ++r) {
           float sum = 0;
           for (size_t i = 0; i < 48; ++i) sum += in[0].values[r * 48 + i] * in[0].values[r * 48 + i];
           for (size_t i = 0; i < 48; ++i)
             y.push_back(in[0].values[r * 48 + i] / (bug == 1   ? sum
                                                     : bug == 2 ? std::sqrt(sum / 48)
                                                                : std::sqrt(sum)));
         }
         return y;
       }});
  all.push_back({"rope",
                 "rope",
                 {some({3, 2, 16}, 12), {{3}, {4, 9, 4}}},
                 {{"base", 10000.0}, {"layout", "halves"}},
                 {3, 2, 16},
                 [](const auto& in, int bug) {
                   Floats y(96);
                   for (size_t r = 0; r < 3; ++r) {
                     for (size_t h = 0; h < 2; ++h) {
                       for (size_t i = 0; i < 8; ++i) {
                         const float base = bug == 2 ? 500000.0f : 10000.0f;
                         const float angle = (in[1].values[r] + (bug == 1 ? 1.0f : 0.0f)) *
                                             std::pow(base, -static_cast<float>(2 * i) / 16);
                         const size_t a = (r * 2 + h) * 16 + (bug == 3 ? 2 * i : i),
                                      b = bug == 3 ? a + 1 : a + 8;
                         const Floats& x = in[0].values;
                         y[a] = x[a] * std::cos(angle) - x[b] * std::sin(angle);
                         y[b] = x[a] * std::sin(angle) + x[b] * std::cos(angle);
                       }
                     }
                   }
                   return y;
                 },
                 3,
                 {"rope_position", "rope_base", "rope_style"}});
  all.push_back({"soft_max",
                 "soft_max",
                 {some({3, 2, 20}, 13, 3)},
                 {},
                 {3, 2, 20},
                 [](const auto& in, int bug) {
                   return soft_max_rows(in, 2, 20, 1, 0, bug == 1 ? 4 : bug == 2 ? 5 : 0);
                 },
                 1});
  all.push_back({"soft_max_masked",
                 "soft_max",
                 {some({3, 2, 9}, 14, 3), mask(3, 9), some({2}, 15)},
                 {{"scale", 0.25}, {"softcap", 30.0}},
                 {3, 2, 9},
                 [](const auto& in, int bug) { return soft_max_rows(in, 2, 9, 0.25f, 30, bug); },
                 4});
  all.push_back({"flash_attention",
                 "flash_attention",
                 {some({3, 4, 16}, 16), some({9, 2, 16}, 17), some({9, 2, 16}, 18), mask(3, 9)},
                 {{"scale", 0.25}},
                 {3, 4, 16},
                 attend,
                 3});
  all.push_back(
      {"add", "add", {some({3, 20}, 19), some({20}, 20)}, {}, {3, 20}, [](const auto& in, int bug) {
         Floats y;
         for (size_t i = 0; i < 60; ++i)
           y.push_back(in[0].values[i] + (bug == 1 ? 0.5f : bug == 2 ? 0.0f : 1.0f) * in[1].values[i % 20]);
         return y;
       }});
  all.push_back(
      {"mul", "mul", {some({3, 20}, 21), some({3, 20}, 22)}, {}, {3, 20}, [](const auto& in, int bug) {
         Floats y;
         for (size_t i = 0; i < 60; ++i)
           y.push_back(bug == 1 ? in[0].values[i] + in[1].values[i]
                                : in[0].values[i] * in[1].values[bug == 2 ? i % 20 : i]);
         return y;
       }});
  all.push_back({"scale",
                 "scale",
                 {some({3, 20}, 23)},
                 {{"scale", 0.125}, {"bias", 1.0}},
                 {3, 20},
                 [](const auto& in, int bug) {
                   return each(in[0].values, [&](float x) {
                     return x * (bug == 1 ? 0.25f : 0.125f) + (bug == 2 ? 0.0f : 1.0f);
                   });
                 }});
  all.push_back({"glu_silu",
                 "glu",
                 {some({3, 20}, 24), some({3, 20}, 25)},
                 {{"activation", "silu"}},
                 {3, 20},
                 [](const auto& in, int bug) {
                   Floats y;
                   for (size_t i = 0; i < 60; ++i) {
                     const float g = in[bug == 2 ? 1 : 0].values[i], u = in[bug == 2 ? 0 : 1].values[i];
                     y.push_back((bug == 1 ? gelu(g) : silu(g)) * u);
                   }
                   return y;
                 },
                 2,
                 {"wrong_activation", ""}});
  all.push_back({"glu_halves",
                 "glu",
                 {some({3, 40}, 26)},
                 {{"activation", "gelu"}},
                 {3, 20},
                 [](const auto& in, int bug) {
                   Floats y;
                   for (size_t r = 0; r < 3; ++r) {
                     for (size_t i = 0; i < 20; ++i) {
                       const float a = in[0].values[r * 40 + i], b = in[0].values[r * 40 + 20 + i];
                       y.push_back(bug == 1 ? gelu(b) * a : bug == 2 ? silu(a) * b : gelu(a) * b);
                     }
                   }
                   return y;
                 }});
  all.push_back({"glu_oai",
                 "glu",
                 {some({3, 20}, 27, 6), some({3, 20}, 28, 6)},
                 {{"activation", "swiglu_oai"}, {"alpha", 1.702}, {"limit", 7.0}},
                 {3, 20},
                 [](const auto& in, int bug) {
                   Floats y;
                   for (size_t i = 0; i < 60; ++i) {
                     const float g = std::min(in[0].values[i], bug == 1 ? 1e9f : 7.0f);
                     const float u = std::clamp(in[1].values[i], -7.0f, 7.0f);
                     y.push_back(g * sigmoid((bug == 2 ? 1.0f : 1.702f) * g) *
                                 (u + (bug == 3 ? 0.0f : 1.0f)));
                   }
                   return y;
                 },
                 3});
  for (const auto& [word, right] :
       {std::pair<std::string, float (*)(float)>{"silu", silu},
        {"gelu", gelu},
        {"sigmoid", sigmoid},
        {"gelu_erf", [](float x) { return 0.5f * x * (1 + std::erf(x * 0.70710678f)); }},
        {"gelu_quick", [](float x) { return x * sigmoid(1.702f * x); }},
        {"softplus", [](float x) { return std::log1p(std::exp(x)); }},
        {"relu", [](float x) { return std::max(x, 0.0f); }},
        {"tanh", [](float x) { return std::tanh(x); }}}) {
    all.push_back({"unary_" + word,
                   "unary",
                   {some({3, 20}, 29, 2)},
                   {{"activation", word}},
                   {3, 20},
                   [right = right](const auto& in, int bug) {
                     Floats y = each(in[0].values, right);
                     if (bug == 1) std::rotate(y.begin(), y.begin() + 1, y.end());
                     if (bug == 2) y[59] = in[0].values[59] + 1;  // the tail is left as it was
                     return y;
                   }});
  }
  const auto order = [](const auto& in, int bug, bool largest, size_t k) {
    Floats y;
    for (size_t r = 0; r < 3; ++r) {
      Floats at(20);
      std::iota(at.begin(), at.end(), 0.0f);
      const auto value = [&](float i) { return in[0].values[r * 20 + static_cast<size_t>(i)]; };
      std::stable_sort(at.begin(), at.end(), [&](float a, float b) {
        return (largest != (bug == 1)) ? value(a) > value(b) : value(a) < value(b);
      });
      if (bug == 2) at[k - 1] = at[0];
      y.insert(y.end(), at.begin(), at.begin() + static_cast<long>(k));
    }
    return y;
  };
  all.push_back({"argsort",
                 "argsort",
                 {some({3, 20}, 30)},
                 {{"order", "desc"}},
                 {3, 20},
                 [order](const auto& in, int bug) { return order(in, bug, true, 20); },
                 2,
                 {},
                 true});
  all.push_back({"top_k",
                 "top_k",
                 {some({3, 20}, 31)},
                 {},
                 {3, 4},
                 [order](const auto& in, int bug) { return order(in, bug, true, 4); },
                 2,
                 {},
                 true});
  all.push_back({"set_rows",
                 "set_rows",
                 {some({6, 8}, 32), some({2, 8}, 33), {{2}, {4, 1}}},
                 {},
                 {6, 8},
                 [](const auto& in, int bug) {
                   Floats y = in[0].values;
                   for (size_t r = 0; r < 2; ++r) {
                     const size_t to = static_cast<size_t>(in[2].values[r]) + (bug == 1 ? 1 : 0);
                     for (size_t i = 0; i < 8; ++i)
                       y[to * 8 + i] = in[1].values[r * 8 + i] + (bug == 2 ? y[to * 8 + i] : 0);
                   }
                   return y;
                 }});
  all.push_back(
      {"cpy", "cpy", {some({3, 20}, 34)}, {}, {3, 20}, [](const auto& in, int bug) {
         return each(in[0].values, [&](float x) { return bug == 1 ? std::trunc(x) : bug == 2 ? -x : x; });
       }});
  all.push_back(
      {"concat",
       "concat",
       {some({2, 3, 4}, 35), some({2, 5, 4}, 36)},
       {{"axis", 1.0}},
       {2, 8, 4},
       [](const auto& in, int bug) {
         Floats y;
         for (size_t o = 0; o < 2; ++o) {
           for (const size_t part : bug == 1 ? std::vector<size_t>{1, 0} : std::vector<size_t>{0, 1}) {
             const size_t size = in[part].values.size() / 2, from = bug == 2 ? 0 : o * size;
             y.insert(y.end(), in[part].values.begin() + static_cast<long>(from),
                      in[part].values.begin() + static_cast<long>(from + size));
           }
         }
         return y;
       }});
  all.push_back({"ssm_conv",
                 "ssm_conv",
                 {some({2, 6, 8}, 37), some({6, 4}, 38)},
                 {},
                 {2, 5, 6},
                 [](const auto& in, int bug) {
                   Floats y;
                   for (size_t s = 0; s < 2; ++s) {
                     for (size_t t = 0; t < 5; ++t) {
                       for (size_t i = 0; i < 6; ++i) {
                         float sum = 0;
                         for (size_t j = 0; j < (bug == 2 ? 3u : 4u); ++j)
                           sum += in[0].values[(s * 6 + i) * 8 + t + (bug == 1 ? 3 - j : j)] *
                                  in[1].values[i * 4 + j];
                         y.push_back(sum);
                       }
                     }
                   }
                   return y;
                 }});
  Input decay = some({2}, 42);
  for (float& a : decay.values) a = -std::abs(a);
  all.push_back({"ssm_scan",
                 "ssm_scan",
                 {some({1, 2, 3, 5}, 39), some({1, 4, 2, 3}, 40), some({1, 4, 2}, 41), decay,
                  some({1, 4, 1, 5}, 43), some({1, 4, 1, 5}, 44)},
                 {},
                 {54},
                 scan,
                 3});
  Input gate = some({1, 3, 2}, 48);
  for (float& g : gate.values) g = -std::abs(g);
  all.push_back({"gated_delta_net",
                 "gated_delta_net",
                 {some({1, 3, 2, 4}, 45), some({1, 3, 2, 4}, 46), some({1, 3, 2, 5}, 47), gate,
                  some({1, 3, 2}, 49), some({1, 2, 4, 5}, 50)},
                 {{"scale", 0.5}},
                 {70},
                 delta,
                 2});
  return all;
}

}  // namespace greta::op_cases

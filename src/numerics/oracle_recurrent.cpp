// Ops with a state. Its error is carried along: what a step's state is off by, the next step multiplies by
// the same decay and adds its own roundings to.

#include <algorithm>
#include <cmath>

#include "numerics/bounds.h"
#include "numerics/oracle_op.h"

namespace greta::oracle {
namespace {

using bounds::kU;

/// A number and how far an f32 kernel's may be from it.
struct Off {
  double value = 0, off = 0;
};

/// A running sum of terms that are themselves off.
class OffSum {
 public:
  void add(double term, double off) { sum_ += term, squares_ += term * term, off_ += off, count_ += 1; }
  Off total() const {
    const double energy = bounds::any_order_energy(sum_, squares_, count_) + squares_;
    return {sum_, off_ + bounds::accumulated(energy, 2 * count_, kU) + bounds::kTiny};
  }

 private:
  double sum_ = 0, squares_ = 0, off_ = 0, count_ = 0;
};

/// exp(z) of an argument that is off.
Off exp_of(double z, double off) {
  const double value = std::exp(z);
  return {value, value * (off + bounds::kExp) + bounds::kTiny};
}

void push(Expected& expected, const Off& number) {
  expected.value.push_back(number.value);
  expected.bound.push_back(number.off);
}

std::vector<Off> exactly_these(std::span<const float> values) {
  std::vector<Off> all;
  for (const float value : values) all.push_back({value, 0});
  return all;
}

}  // namespace

Expected ssm_conv(std::span<const float> x, std::span<const float> c, int64_t sequences, int64_t channels,
                  int64_t taps) {
  const int64_t length = std::ssize(x) / (sequences * channels);
  Expected expected;
  for (int64_t s = 0; s < sequences; ++s) {
    for (int64_t t = 0; t + taps <= length; ++t) {
      for (int64_t i = 0; i < channels; ++i) {
        OffSum sum;
        for (int64_t j = 0; j < taps; ++j)
          sum.add(double{x[static_cast<size_t>((s * channels + i) * length + t + j)]} *
                      c[static_cast<size_t>(i * taps + j)],
                  0);
        push(expected, sum.total());
      }
    }
  }
  return expected;
}

Expected ssm_scan(std::span<const float> state, std::span<const float> x, std::span<const float> dt,
                  std::span<const float> a, std::span<const float> b, std::span<const float> c,
                  const ScanShape& shape) {
  const UnaryFunction& softplus = *find_unary("softplus");
  std::vector<Off> states = exactly_these(state);
  Expected expected;
  for (int64_t st = 0; st < shape.sequences * shape.tokens; ++st) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      const double step_in = dt[static_cast<size_t>(st * shape.heads + h)];
      const Off step{softplus.value(step_in), softplus.bound(step_in)};
      const int64_t group = h / (shape.heads / shape.groups);
      for (int64_t p = 0; p < shape.head_dim; ++p) {
        const int64_t row = h * shape.head_dim + p;
        const double in = x[static_cast<size_t>(st * shape.heads * shape.head_dim + row)];
        OffSum y;
        for (int64_t n = 0; n < shape.d_state; ++n) {
          const size_t of_group = static_cast<size_t>((st * shape.groups + group) * shape.d_state + n);
          const double rate = a[static_cast<size_t>(shape.scalar_decay ? h : h * shape.d_state + n)];
          const Off decay = exp_of(step.value * rate, std::abs(rate) * (step.off + kU * step.value));
          const int64_t sequence = st / shape.tokens;
          Off& own = states[static_cast<size_t>(
              (sequence * shape.heads * shape.head_dim + row) * shape.d_state + n)];
          const double kept = own.value * decay.value, added = b[of_group] * in * step.value;
          const double off = own.off * decay.value + std::abs(own.value) * decay.off + kU * std::abs(kept) +
                             std::abs(double{b[of_group]} * in) * step.off + 2 * kU * std::abs(added);
          own = {kept + added, off + kU * std::abs(kept + added) + bounds::kTiny};
          y.add(own.value * c[of_group], own.off * std::abs(double{c[of_group]}));
        }
        push(expected, y.total());
      }
    }
  }
  for (const Off& own : states) push(expected, own);
  return expected;
}

Expected gated_delta_net(std::span<const float> q, std::span<const float> k, std::span<const float> v,
                         std::span<const float> g, std::span<const float> beta, std::span<const float> state,
                         const DeltaShape& shape) {
  std::vector<Off> states = exactly_these(state);
  Expected expected;
  for (int64_t st = 0; st < shape.sequences * shape.tokens; ++st) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      const size_t row = static_cast<size_t>(st * shape.heads + h);
      Off* own = states.data() + (st / shape.tokens * shape.heads + h) * shape.d_k * shape.d_v;
      const float* query = q.data() + row * static_cast<size_t>(shape.d_k);
      const float* key = k.data() + row * static_cast<size_t>(shape.d_k);
      const Off decay = exp_of(g[row], 0);
      for (int64_t i = 0; i < shape.d_k * shape.d_v; ++i) {
        own[i].off = own[i].off * decay.value + std::abs(own[i].value) * decay.off;
        own[i].value *= decay.value;
        own[i].off += kU * std::abs(own[i].value) + bounds::kTiny;
      }
      for (int64_t j = 0; j < shape.d_v; ++j) {
        OffSum seen, out;
        for (int64_t i = 0; i < shape.d_k; ++i) {
          const Off& s = own[i * shape.d_v + j];
          seen.add(s.value * key[i], s.off * std::abs(double{key[i]}));
        }
        const Off before = seen.total();
        const double lacks = v[row * static_cast<size_t>(shape.d_v) + static_cast<size_t>(j)] - before.value;
        const double delta = lacks * beta[row];
        const double off =
            (before.off + kU * std::abs(lacks)) * std::abs(double{beta[row]}) + kU * std::abs(delta);
        for (int64_t i = 0; i < shape.d_k; ++i) {
          Off& s = own[i * shape.d_v + j];
          s.value += key[i] * delta;
          s.off += std::abs(double{key[i]}) * off + kU * (std::abs(key[i] * delta) + std::abs(s.value)) +
                   bounds::kTiny;
          out.add(s.value * query[i], s.off * std::abs(double{query[i]}));
        }
        Off o = out.total();
        o.value *= shape.scale;
        o.off = o.off * std::abs(shape.scale) + 2 * kU * std::abs(o.value);
        push(expected, o);
      }
    }
  }
  for (const Off& own : states) push(expected, own);
  return expected;
}

}  // namespace greta::oracle

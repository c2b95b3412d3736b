// RMS norms with a wrong eps, in the wrong place, or of another kind.

#include <algorithm>
#include <cmath>

#include "fault/bank.h"

namespace greta {
namespace {

struct Row {
  const float* x;
  const float* weight;
  int64_t n;
  double eps;

  double value(int64_t i) const { return static_cast<double>(x[i]); }
  double w(int64_t i) const { return static_cast<double>(weight[i]); }
  double mean_square() const {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += value(i) * value(i);
    return sum / static_cast<double>(n);
  }
  double scale() const { return 1 / std::sqrt(mean_square() + eps); }
};

/// The norm with each row (of a head, where heads have norms) made by f(row, out).
template <class F>
Wrong by_row(F f) {
  return [f](const WrongCall& call) {
    const View& in = call.args.in[0];
    const View& weight = call.args.in[1];
    for (int64_t r = 0; r < call.args.out.rows; ++r) {
      for (int64_t h = 0; h + weight.cols <= in.cols; h += weight.cols) {
        const Row row{in.row(r) + h, weight.row(0), weight.cols, static_cast<double>(call.args.params.eps)};
        f(row, call.args.out.row(r) + h);
      }
    }
  };
}

/// The norm with element i = (x[i] - shift) * scale * weight(i).
template <class Weight>
void write(const Row& row, float* out, double scale, Weight weight, double shift = 0) {
  for (int64_t i = 0; i < row.n; ++i) {
    out[i] = static_cast<float>((row.value(i) - shift) * scale * weight(i));
  }
}

/// eps * (1 + size), by the engine's own kernel.
Wrong change_eps(TwinSite& site) {
  const double eps = static_cast<double>(site.call().params.eps) * (1 + site.size);
  return [kernel = site.call().kernel, eps](const WrongCall& call) {
    KernelArgs args = call.args;
    args.params.eps = static_cast<float>(eps);
    kernel->run(args, {0, 1});
  };
}

Wrong eps_outside_root(TwinSite&) {
  return by_row([](const Row& row, float* out) {
    const double scale = 1 / (std::sqrt(row.mean_square()) + 1e-2);
    write(row, out, scale, [&](int64_t i) { return row.w(i); });
  });
}

/// eps is added after the row was divided by its largest magnitude: eps * max^2.
Wrong eps_rescaled(TwinSite&) {
  return by_row([](const Row& row, float* out) {
    double max = 0;
    for (int64_t i = 0; i < row.n; ++i) max = std::max(max, std::abs(row.value(i)));
    const double scale = 1 / std::sqrt(row.mean_square() + row.eps * max * max);
    write(row, out, scale, [&](int64_t i) { return row.w(i); });
  });
}

Wrong weight_plus_one(TwinSite&) {
  return by_row([](const Row& row, float* out) {
    write(row, out, row.scale(), [&](int64_t i) { return row.w(i) + 1; });
  });
}

Wrong weight_only(TwinSite&) {
  return by_row([](const Row& row, float* out) { write(row, out, 1, [&](int64_t i) { return row.w(i); }); });
}

Wrong no_weight(TwinSite&) {
  return by_row(
      [](const Row& row, float* out) { write(row, out, row.scale(), [](int64_t) { return 1.0; }); });
}

/// LayerNorm: the mean is taken off first.
Wrong subtract_mean(TwinSite&) {
  return by_row([](const Row& row, float* out) {
    double mean = 0;
    for (int64_t i = 0; i < row.n; ++i) mean += row.value(i);
    mean /= static_cast<double>(row.n);
    const double scale = 1 / std::sqrt(row.mean_square() - mean * mean + row.eps);
    write(
        row, out, scale, [&](int64_t i) { return row.w(i); }, mean);
  });
}

/// By the mean magnitude instead of the root of the mean square.
Wrong mean_magnitude(TwinSite&) {
  return by_row([](const Row& row, float* out) {
    double sum = 0;
    for (int64_t i = 0; i < row.n; ++i) sum += std::abs(row.value(i));
    write(row, out, static_cast<double>(row.n) / sum, [&](int64_t i) { return row.w(i); });
  });
}

/// Each half of the row by its own mean square: two groups that were never reduced together.
Wrong halves_apart(TwinSite&) {
  return by_row([](const Row& row, float* out) {
    const int64_t half = row.n / 2;
    for (const int64_t at : {int64_t{0}, half}) {
      const Row part{row.x + at, row.weight + at, at == 0 ? half : row.n - half, row.eps};
      write(part, out + at, part.scale(), [&](int64_t i) { return part.w(i); });
    }
  });
}

}  // namespace

Wrong pass_through(TwinSite&) {
  return by_row([](const Row& row, float* out) { std::copy_n(row.x, row.n, out); });
}

FaultList norm_faults() {
  const std::string fixed = kGitHub + "apache/tvm/pull/15856",
                    conflated = kGitHub + "osaurus-ai/vmlx-swift/pull/381";
  const std::string rescaled = kGitHub + "apple/coremltools/issues/2821";
  const std::string skipped = kGitHub + "paiml/aprender/pull/3484",
                    race = kGitHub + "pegainfer-project/pegainfer/pull/411";
  // So large that it shows in any layer: the residual stream grows, and eps with it counts less.
  const auto eps = [&](const char* name, Stage stage, const char* what, const std::string& source,
                       double size) {
    return Fault{name, "norm_eps", stage, what, source, "norm_eps", change_eps, size};
  };
  const auto norm = [&](const char* name, const char* kind, Stage stage, const char* what,
                        const std::string& source, MakeWrong make) {
    return Fault{name, kind, stage, what, source, kind, std::move(make)};
  };
  return {
      eps("attn_norm_eps", Stage::attn_norm, "another eps (1000 times the model's; by=999)", fixed, 999),
      eps("ffn_norm_eps", Stage::ffn_norm, "another eps (1000 times the model's; by=999)", conflated, 999),
      eps("final_norm_eps", Stage::final_norm, "another eps (10000 times the model's; by=9999)",
          kGitHub + "paiml/aprender/issues/3759", 9999),
      norm("attn_norm_eps_outside", "norm_eps_outside_root", Stage::attn_norm, "divided by root + 0.01",
           kMadeUp, eps_outside_root),
      norm("ffn_norm_eps_rescaled", "norm_eps_rescaled", Stage::ffn_norm,
           "eps is added to the max-rescaled row", rescaled, eps_rescaled),
      norm("attn_norm_plus_one", "norm_plus_one", Stage::attn_norm, "weight + 1, as Gemma stores it", kMadeUp,
           weight_plus_one),
      norm("final_norm_plus_one", "norm_plus_one", Stage::final_norm, "weight + 1, as Gemma stores it",
           kMadeUp, weight_plus_one),
      norm("ffn_norm_weight_only", "norm_omitted", Stage::ffn_norm, "times the weight, but not normalised",
           skipped, weight_only),
      norm("attn_norm_omitted", "norm_omitted", Stage::attn_norm, "the input as it is", skipped,
           pass_through),
      norm("ffn_norm_no_weight", "norm_weight_omitted", Stage::ffn_norm,
           "normalised, but not times the weight", kMadeUp, no_weight),
      norm("attn_norm_mean", "norm_mean_subtracted", Stage::attn_norm, "LayerNorm: the mean is subtracted",
           kMadeUp, subtract_mean),
      {"ffn_norm_magnitude", "norm_magnitude", Stage::ffn_norm, "divided by the mean magnitude, not the root",
       kMadeUp, "", mean_magnitude},
      {"attn_norm_halves", "norm_halves", Stage::attn_norm, "each half of the row by its own mean square",
       race, "", halves_apart},
  };
}

}  // namespace greta

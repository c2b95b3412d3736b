// RMSNorm as people get it wrong: eps, weight, reduction.

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>
#include <tuple>

#include "judge/hypotheses/hypothesis.h"
#include "judge/hypotheses/rounding.h"
#include "numerics/dequant.h"

namespace greta {
namespace {

bool is_norm(const Suspect& s) { return greta::is_norm(s.kind()); }

/// What a formula sees of one row.
struct Row {
  std::span<const float> x;
  double mean = 0, square_mean = 0, max = 0;  // of x, of x^2, of |x|
  double eps = 0;                             // the model's
};

Row row_of(std::span<const float> x, double eps) {
  Row row{x, 0, 0, 0, eps};
  for (const float value : x) {
    const double v = static_cast<double>(value);
    row.mean += v;
    row.square_mean += v * v;
    row.max = std::max(row.max, std::abs(v));
  }
  row.mean /= static_cast<double>(x.size());
  row.square_mean /= static_cast<double>(x.size());
  return row;
}

/// y_i = f(row, x_i, w_i). The bound is that of an f32 norm of unknown order, of twice the roundings.
using Formula = std::function<double(const Row& row, double x, double w)>;
/// What the kernel finds out of a row, changed once for all its elements.
using RowChange = std::function<void(Row& row)>;

Candidate formula(Formula f, Text title, int fitted = 0, RowChange change = {}) {
  return computed_by(
      [f = std::move(f), change = std::move(change)](const StageProblem& p, const Values& values) {
        const Expected right = right_of(p, values);
        const size_t n = static_cast<size_t>(p.weight->dims[0]);
        std::vector<double> weight(n);
        decode_row(*p.weight, 0, weight);
        Expected wrong;
        for (size_t begin = 0; begin < values[0].size(); begin += n) {
          Row row = row_of(std::span(values[0]).subspan(begin, n), p.eps);
          if (change) change(row);
          for (size_t i = 0; i < n; ++i) {
            const double value = f(row, static_cast<double>(row.x[i]), weight[i]);
            const double relative =
                right.value[begin + i] == 0 ? 0 : right.bound[begin + i] / std::abs(right.value[begin + i]);
            wrong.value.push_back(value);
            wrong.bound.push_back((relative + 8 * bounds::kU) * std::abs(value) +
                                  bounds::kU * std::abs(weight[i]) * row.max + bounds::kTiny);
          }
        }
        return wrong;
      },
      std::move(title), fitted);
}

Candidate with_eps(double eps, Text title, int fitted) {
  return {[eps](const Observation&, StageProblem& problem) {
            problem.eps = eps;
            return true;
          },
          std::move(title), fitted};
}

/// An affected row, by how much its output is the right one's multiple (least squares), and how far rounding
/// may have moved that.
struct ScaledRow {
  Row row;
  double scale = 0, uncertainty = 0;
};

std::vector<ScaledRow> affected_rows(const Suspect& s) {
  std::vector<ScaledRow> rows;
  for (const Observation& seen : s.evidence.observations) {
    const SharedRows& x = seen.problem->operands[0].values;
    const size_t n = static_cast<size_t>(seen.problem->weight->dims[0]);
    for (size_t begin = 0; begin + n <= x.size(); begin += n) {
      if (!seen.in_affected(begin)) continue;
      double square = 0, both = 0, allowed = 0;
      for (size_t i = begin; i < begin + n; ++i) {
        square += seen.right.value[i] * seen.right.value[i];
        both += seen.right.value[i] * static_cast<double>(seen.observed[i]);
        allowed += std::abs(seen.right.value[i]) * seen.right.bound[i];
      }
      rows.push_back(
          {row_of(std::span(x).subspan(begin, n), seen.problem->eps), both / square, allowed / square});
    }
  }
  return rows;
}

struct EpsSeen {
  double value = 0, uncertainty = 0;
};

/// With y = x w r, r = 1 / sqrt(mean(x^2) + eps): the r of each row gives the eps that was used; rows count
/// by how much of their r the eps is.
std::optional<EpsSeen> estimated_eps(const Suspect& s) {
  for (const Observation& seen : s.evidence.observations) {
    if (seen.problem->operands[0].values.empty()) return std::nullopt;
  }
  double sum = 0, doubt = 0, weights = 0;
  for (const auto& [row, c, uncertainty] : affected_rows(s)) {
    const double mean = row.square_mean;
    if (!std::isfinite(c) || c <= 0 || mean <= 0) continue;
    const double used = (mean + s.config().norm_eps) / (c * c);
    sum += (used - mean) / (mean * mean);
    doubt += 2 * uncertainty / c * used / (mean * mean);
    weights += 1 / (mean * mean);
  }
  const EpsSeen seen{sum / weights, doubt / weights};
  return std::isfinite(seen.value) ? std::optional(seen) : std::nullopt;
}

std::vector<Candidate> norm_eps(const Suspect& s) {
  if (!is_norm(s)) return {};
  const double own = s.config().norm_eps;
  const std::optional<EpsSeen> seen = s.direct ? estimated_eps(s) : std::nullopt;
  // Beside the squares a small one is as good as none.
  const double most = seen ? seen->value + seen->uncertainty : 0;
  const bool is_small = seen && seen->value < seen->uncertainty;
  const auto title = [&](double eps) {
    const std::string_view stage = s.name();
    if (!is_small || eps > most) {
      return Text{fmt::format("the eps of {} is {:.3g}, not {:.3g}", stage, eps, own),
                  fmt::format("el eps de {} es {:.3g} en lugar de {:.3g}", stage, eps, own)};
    }
    // What the rows leave open may reach to the model's own.
    if (most > own / 2) {
      return Text{fmt::format("the eps of {} is less than {:.3g}", stage, own),
                  fmt::format("el eps de {} es menor que {:.3g}", stage, own)};
    }
    const double digit = std::pow(10, std::floor(std::log10(most)));
    const double told = std::ceil(most / digit) * digit;
    return Text{fmt::format("the eps of {} is at most {:.1g}, not {:.3g}", stage, told, own),
                fmt::format("el eps de {} es {:.1g} como mucho, en lugar de {:.3g}", stage, told, own)};
  };
  std::vector<Candidate> candidates;
  for (const double eps : {0.0, 1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2}) {
    if (std::abs(eps - own) > 1e-3 * own) candidates.push_back(with_eps(eps, title(eps), 0));
  }
  if (seen && seen->value >= 0) candidates.push_back(with_eps(seen->value, title(seen->value), 1));
  return candidates;
}

std::vector<Candidate> eps_outside(const Suspect& s) {
  if (!is_norm(s)) return {};
  std::vector<Candidate> candidates;
  for (const double eps : {s.config().norm_eps, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2}) {
    candidates.push_back(formula(
        [eps](const Row& row, double x, double w) { return x * w / (std::sqrt(row.square_mean) + eps); },
        {fmt::format("eps ({:.3g}) is added to the root, not under it", eps),
         fmt::format("eps ({:.3g}) se suma a la raíz, no dentro de ella", eps)}));
  }
  return candidates;
}

std::vector<Candidate> eps_rescaled(const Suspect& s) {
  if (!is_norm(s)) return {};
  return {formula([](const Row& row, double x,
                     double w) { return x * w / std::sqrt(row.square_mean + row.eps * row.max * row.max); },
                  {"eps is added after rescaling by the maximum: it counts as eps * max^2",
                   "eps se suma tras escalar por el máximo: cuenta como eps * max^2"})};
}

double root(const Row& row) { return std::sqrt(row.square_mean + row.eps); }

std::vector<Candidate> plus_one(const Suspect& s) {
  if (!is_norm(s)) return {};
  return {formula([](const Row& row, double x, double w) { return x * (1 + w) / root(row); },
                  {"1 is added to the norm's weight (Gemma's convention)",
                   "se suma 1 al peso de la norma (convención de Gemma)"}),
          formula([](const Row& row, double x, double w) { return x * (w - 1) / root(row); },
                  {"1 is taken from the norm's weight", "se resta 1 al peso de la norma"})};
}

std::vector<Candidate> omitted(const Suspect& s) {
  if (!is_norm(s)) return {};
  return {
      formula([](const Row&, double x, double w) { return x * w; },
              {"the rows are not normalised: only the weight is applied",
               "las filas no se normalizan: solo se aplica el peso"}),
      formula([](const Row&, double x, double) { return x; }, {"the norm is skipped", "se omite la norma"})};
}

std::vector<Candidate> weight_omitted(const Suspect& s) {
  if (!is_norm(s)) return {};
  return {formula([](const Row& row, double x, double) { return x / root(row); },
                  {"the norm's weight is not applied", "no se aplica el peso de la norma"})};
}

std::vector<Candidate> mean_subtracted(const Suspect& s) {
  if (!is_norm(s)) return {};
  return {formula(
      [](const Row& row, double x, double w) {
        return (x - row.mean) * w / std::sqrt(row.square_mean - row.mean * row.mean + row.eps);
      },
      {"the mean is subtracted: a LayerNorm in the place of an RMSNorm",
       "se resta la media: LayerNorm en lugar de RMSNorm"})};
}

/// Of the normalised row, before its weight.
std::vector<Candidate> value_rounded(const Suspect& s) {
  if (!is_norm(s)) return {};
  std::vector<Candidate> candidates;
  for (const Format format : {Format::bf16, Format::f16}) {
    const auto rounded = [format](const StageProblem& p, const Values& values) {
      Expected wrong = right_of(p, values);
      const size_t n = static_cast<size_t>(p.weight->dims[0]);
      std::vector<double> weight(n);
      decode_row(*p.weight, 0, weight);
      for (size_t i = 0; i < wrong.value.size(); ++i) {
        const double w = weight[i % n];
        if (w == 0) continue;
        const double value = wrong.value[i] / w, error = wrong.bound[i] / std::abs(w);
        // Where the exact value lies on a border, either neighbour will do.
        const double jump = rounded_to(value + error, format) - rounded_to(value - error, format);
        wrong.value[i] = rounded_to(value, format) * w;
        wrong.bound[i] = std::abs(w) * jump + 2 * bounds::kU * std::abs(wrong.value[i]);
      }
      return wrong;
    };
    candidates.push_back(computed_by(
        rounded,
        {fmt::format("the normalised row is rounded to {} before its weight is applied", name(format)),
         fmt::format("la fila normalizada se redondea a {} antes de aplicar el peso", name(format))}));
    candidates.push_back(formula(
        [format](const Row& row, double x, double w) {
          return x * w * rounded_to(1 / std::sqrt(row.square_mean + row.eps), format);
        },
        {fmt::format("1 / rms of a row is rounded to {}", name(format)),
         fmt::format("1 / rms de una fila se redondea a {}", name(format))}));
  }
  return candidates;
}

std::vector<Candidate> sum_for_mean(const Suspect& s) {
  if (!is_norm(s)) return {};
  return {formula(
      [](const Row& row, double x, double w) {
        return x * w / std::sqrt(row.square_mean * static_cast<double>(row.x.size()) + row.eps);
      },
      {"the sum of squares is not divided by the length",
       "la suma de cuadrados no se divide por la longitud"})};
}

/// Sums of squares of none, of the first, of the first two, ... elements.
std::vector<double> sums_of_squares(std::span<const float> x) {
  std::vector<double> sums{0};
  for (const float value : x)
    sums.push_back(sums.back() + static_cast<double>(value) * static_cast<double>(value));
  return sums;
}

/// A sum of squares of some elements only.
struct PartialSum {
  bool first = true;      // the first `count`; else the last
  bool by_count = false;  // divided by their number; else by the row's length
  size_t count = 0;

  double mean(const std::vector<double>& squares) const {
    const size_t n = squares.size() - 1;
    const double sum = first ? squares[count] : squares[n] - squares[n - count];
    return sum / static_cast<double>(by_count ? count : n);
  }

  Text title(size_t n) const {
    return {fmt::format("the sum of squares has the {} {} of {} elements only{}", first ? "first" : "last",
                        count, n, by_count ? ", and is divided by their number" : ""),
            fmt::format("la suma de cuadrados solo tiene {} {} de {} elementos{}",
                        first ? "los primeros" : "los últimos", count, n,
                        by_count ? ", y se divide por su número" : "")};
  }
};

/// Of an affected row, with the mean square that its scale shows, plus eps.
struct ShownMean {
  std::vector<double> squares;
  double eps = 0, shown = 0;
};

std::vector<ShownMean> shown_means(const Suspect& s) {
  std::vector<ShownMean> all;
  for (const auto& [row, scale, uncertainty] : affected_rows(s)) {
    const double shown = (row.square_mean + row.eps) / (scale * scale);
    if (!std::isfinite(shown) || shown <= row.eps) return {};
    all.push_back({sums_of_squares(row.x), row.eps, shown});
  }
  return all;
}

/// How far the sum is from what the rows show.
double distance(const PartialSum& sum, const std::vector<ShownMean>& rows) {
  double off = 0;
  for (const ShownMean& row : rows)
    off += std::pow(std::log((sum.mean(row.squares) + row.eps) / row.shown), 2);
  return off;
}

/// Of each kind the count that comes nearest in all rows.
std::vector<Candidate> sum_partial(const Suspect& s) {
  if (!is_norm(s) || !s.direct) return {};
  const std::vector<ShownMean> shown = shown_means(s);
  if (shown.empty()) return {};
  const size_t n = shown.front().squares.size() - 1;
  std::vector<Candidate> candidates;
  for (const auto& [first, by_count] :
       {std::pair(true, false), {true, true}, {false, false}, {false, true}}) {
    PartialSum best;
    double least = std::numeric_limits<double>::infinity();
    for (size_t count = 1; count < n; ++count) {
      const PartialSum some{first, by_count, count};
      const double off = distance(some, shown);
      if (off < least) std::tie(best, least) = std::pair(some, off);
    }
    candidates.push_back(formula([](const Row& row, double x, double w) { return x * w / root(row); },
                                 best.title(n), 1,
                                 [best](Row& row) { row.square_mean = best.mean(sums_of_squares(row.x)); }));
    candidates.back().counted = true;
  }
  return candidates;
}

const std::array<Hypothesis, 10> kNorm{{
    {"norm_eps",
     {"a norm uses another eps; common values, and an estimate",
      "una norma usa otro eps; valores comunes y una estimación"},
     "https://github.com/apache/tvm/pull/15856",
     norm_eps},
    {"norm_eps_outside_root",
     {"eps is added outside the root", "eps se suma fuera de la raíz"},
     "https://github.com/NVIDIA/cutlass/pull/1112",
     eps_outside},
    {"norm_eps_rescaled",
     {"eps is added to values rescaled by their maximum", "eps se suma a valores escalados por su máximo"},
     "https://github.com/apple/coremltools/issues/2821",
     eps_rescaled},
    {"norm_plus_one",
     {"the weight is taken as 1 + w, or the other way round", "el peso se toma como 1 + w, o al revés"},
     "https://github.com/ggml-org/llama.cpp/pull/13951",
     plus_one},
    {"norm_omitted",
     {"the rows are not normalised", "las filas no se normalizan"},
     "https://github.com/osaurus-ai/vmlx-swift/pull/381",
     omitted},
    {"norm_weight_omitted",
     {"the norm's weight is not applied", "no se aplica el peso de la norma"},
     "https://github.com/osaurus-ai/vmlx-swift/pull/381",
     weight_omitted},
    {"norm_mean_subtracted",
     {"the mean is subtracted (LayerNorm)", "se resta la media (LayerNorm)"},
     "https://github.com/NVIDIA/cutlass/pull/1112",
     mean_subtracted},
    {"norm_value_rounded",
     {"the normalised row is rounded to 16 bits before its weight is applied",
      "la fila normalizada se redondea a 16 bits antes de aplicar el peso"},
     "https://github.com/osaurus-ai/vmlx-swift/pull/381",
     value_rounded,
     true},
    {"norm_sum_for_mean",
     {"the sum of squares is not divided by the length", "la suma de cuadrados no se divide por la longitud"},
     "https://github.com/paiml/aprender/issues/3759",
     sum_for_mean},
    {"norm_sum_partial",
     {"the sum of squares leaves out elements at an end of the row",
      "la suma de cuadrados omite elementos en un extremo de la fila"},
     "https://github.com/tile-ai/tilelang-ascend/issues/890",
     sum_partial},
}};

}  // namespace

std::span<const Hypothesis> norm_hypotheses() { return kNorm; }

}  // namespace greta

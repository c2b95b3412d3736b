#include "judge/hypotheses/attention_rows.h"

#include <fmt/format.h>

#include <cmath>

namespace greta {
namespace {

/// One head's row, turned by `position` (by its negative: back).
void turn(const oracle::RopeShape& shape, double position, double length, double* x) {
  for (int64_t pair = 0; pair < shape.rope_dims / 2; ++pair) {
    const int64_t a = shape.adjacent ? 2 * pair : pair, b = shape.adjacent ? a + 1 : a + shape.rope_dims / 2;
    const double angle = position * oracle::rope_frequency(shape, pair);
    const double c = length * std::cos(angle), s = length * std::sin(angle), xa = x[a], xb = x[b];
    x[a] = xa * c - xb * s;
    x[b] = xa * s + xb * c;
  }
}

/// Whether an attention's cache is rows of keys and values, as wide as each other.
bool has_halves(const StageProblem& problem, const Values& values) {
  const size_t row = static_cast<size_t>(2 * problem.attention.n_head_kv * problem.attention.head_dim);
  return values.size() > 1 && row > 0 && !values[1].empty() && values[1].size() % row == 0;
}

oracle::RopeShape rope_of(const Suspect& s, int layer) {
  return model_problem(s.model(), {layer, Stage::k_rope}).rope;
}

bool lacks_rope(const Suspect& s, int layer) {
  return s.config().layer(layer).lacks.test(static_cast<size_t>(Stage::k_rope));
}

/// Of rounded rows that are turned once more, or back: what that makes of their roundings in a score.
void allow_for_turning(const StageProblem& p, const Values& values, Expected& expected) {
  const int64_t d = p.attention.head_dim;
  double query = 0, key = 0;
  for (const float x : values[0]) query = std::max(query, std::abs(static_cast<double>(x)));
  for (const float x : values[1]) key = std::max(key, std::abs(static_cast<double>(x)));
  const double more = 4 * bounds::kU * static_cast<double>(d) * query * key * std::abs(p.attention.scale);
  for (double& bound : expected.bound) bound += bound > 0 ? more : 0;
}

}  // namespace

std::vector<Candidate> keys_before_rope(const Suspect& s) {
  if (s.kind() != StageKind::scores || lacks_rope(s, s.at.layer)) return {};
  const oracle::RopeShape shape = rope_of(s, s.at.layer);
  if (shape.rope_dims == 0) return {};
  return {computed_by(
      [shape](const StageProblem& p, const Values& values) {
        if (!has_halves(p, values)) return Expected{};
        const size_t d = static_cast<size_t>(p.attention.head_dim),
                     keys = static_cast<size_t>(p.attention.n_head_kv) * d;
        std::vector<float> cache(values[1].begin(), values[1].end());
        std::vector<double> head(d);
        double* turned = head.data() + d - static_cast<size_t>(shape.head_dim);  // of MLA the key's end
        for (size_t at = 0; at < cache.size(); at += d) {
          if (at / keys % 2 == 1) continue;
          std::copy_n(cache.begin() + static_cast<std::ptrdiff_t>(at), d, head.begin());
          turn(shape, -static_cast<double>(at / (2 * keys)), 1 / shape.magnitude, turned);
          std::copy_n(head.begin(), d, cache.begin() + static_cast<std::ptrdiff_t>(at));
        }
        Expected expected = right_of(p, {values[0], std::move(cache)});
        allow_for_turning(p, values, expected);
        return expected;
      },
      {"scores are made with keys before RoPE", "los scores se hacen con claves anteriores a RoPE"})};
}

std::vector<Candidate> other_half_read(const Suspect& s) {
  const bool keys = s.kind() == StageKind::scores;
  if (!keys && s.kind() != StageKind::mix) return {};
  const auto rows = [keys](const Observation&, const StageProblem& p) -> std::optional<SharedRows> {
    const SharedRows& cache = p.operands[1].values;
    if (!has_halves(p, {{}, cache})) return std::nullopt;
    const size_t half = static_cast<size_t>(p.attention.n_head_kv * p.attention.head_dim);
    std::vector<float> same(cache.begin(), cache.end());
    for (size_t at = 0; at < same.size(); at += 2 * half) {
      for (size_t i = at; i < at + half; ++i) (keys ? same[i] : same[i + half]) = cache[keys ? i + half : i];
    }
    return same;
  };
  return {from_rows(1, rows,
                    keys ? Text{"values are read where keys belong", "se leen valores en lugar de claves"}
                         : Text{"keys are read where values belong", "se leen claves en lugar de valores"})};
}

std::vector<Candidate> rope_added(const Suspect& s) {
  const bool cache = s.kind() == StageKind::cache;
  if ((!cache && s.kind() != StageKind::scores) || !lacks_rope(s, s.at.layer)) return {};
  int other = 0;
  while (other < s.config().n_layer && lacks_rope(s, other)) ++other;
  if (other == s.config().n_layer) return {};
  const oracle::RopeShape shape = rope_of(s, other);
  const Text title{"RoPE is applied, where this layer has none", "se aplica RoPE, y esta capa no lleva"};
  const size_t d = static_cast<size_t>(s.config().head_dim);
  if (!cache) {
    return {computed_by(
        [shape, d](const StageProblem& p, const Values& values) {
          std::vector<float> queries(values[0].begin(), values[0].end());
          const size_t row = queries.size() / p.positions.size();
          std::vector<double> head(d);
          for (size_t at = 0; at < queries.size(); at += d) {
            std::copy_n(queries.begin() + static_cast<std::ptrdiff_t>(at), d, head.begin());
            turn(shape, static_cast<double>(p.positions[at / row]), shape.magnitude, head.data());
            std::copy_n(head.begin(), d, queries.begin() + static_cast<std::ptrdiff_t>(at));
          }
          Values others = values;
          others[0] = std::move(queries);
          Expected expected = right_of(p, others);
          allow_for_turning(p, values, expected);
          return expected;
        },
        title)};
  }
  return {changed_afterwards(
      [shape, d](const StageProblem& p, const Values&, Expected& expected) {
        const size_t row = expected.value.size() / p.positions.size();
        for (size_t at = 0; at < expected.value.size(); at += d) {
          if (at % row >= row / 2) continue;
          double* key = &expected.value[at];
          const double size = std::abs(
              *std::max_element(key, key + d, [](double a, double b) { return std::abs(a) < std::abs(b); }));
          turn(shape, static_cast<double>(p.positions[at / row]), shape.magnitude, key);
          const double error = 4 * size * (bounds::kU + bounds::unit_roundoff(p.cache_format));
          for (size_t i = at; i < at + d; ++i) expected.bound[i] += error;
        }
      },
      title)};
}

}  // namespace greta

// RoPE as people get it wrong: position, frequencies, pairing.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>
#include <set>

#include "judge/hypotheses/hypothesis.h"
#include "judge/hypotheses/rounding.h"

namespace greta {
namespace {

bool is_rope(const Suspect& s) { return s.kind() == StageKind::rope; }

/// A rotation: what may be wrong about it.
struct Rotation {
  /// The one used, from the right one and the block's first.
  std::function<double(double position, double first)> position = {};
  std::function<double(int64_t pair, const oracle::RopeShape&)> frequency = {};
  int64_t dims = 0;                            // rotated dims of a head; 0: the model's
  std::function<double(double)> rounded = {};  // of a cosine or a sine
  double length = 1;                           // times the model's magnitude
  bool other_style = false;
  bool other_order = false;  // the head is in the other style's order, and yet rotated in the model's style
};

/// Where element i of a head in the other style's order is.
int64_t in_other_order(int64_t i, int64_t dims, bool adjacent) {
  if (adjacent) return i < dims / 2 ? 2 * i : 2 * (i - dims / 2) + 1;
  return i % 2 * (dims / 2) + i / 2;
}

/// The model's own RoPE in the suspect's layer.
oracle::RopeShape own_rope(const Suspect& s) { return model_problem(s.model(), s.at).rope; }

/// One head, in place of `value`, `bound`.
void rotate_head(const oracle::RopeShape& shape, const Rotation& rotation, double position,
                 double position_error, const float* x, double* value, double* bound) {
  // Of a cosine or sine, and of its product.
  const double rounding = 2 * bounds::unit_roundoff(shape.between);
  const int64_t dims = rotation.dims > 0 ? rotation.dims : shape.rope_dims;
  const bool adjacent = shape.adjacent != rotation.other_style;
  for (int64_t pair = 0; pair < dims / 2; ++pair) {
    const double frequency =
        rotation.frequency ? rotation.frequency(pair, shape) : oracle::rope_frequency(shape, pair);
    const double angle = position * frequency;
    int64_t a = adjacent ? 2 * pair : pair, b = adjacent ? a + 1 : a + dims / 2;
    if (!rotation.other_order) a += shape.first, b += shape.first;
    if (rotation.other_order) {
      a = shape.first + in_other_order(a, dims, adjacent);
      b = shape.first + in_other_order(b, dims, adjacent);
    }
    const double xa = static_cast<double>(x[a]), xb = static_cast<double>(x[b]);
    const double length = rotation.length * shape.magnitude;
    double cosine = length * std::cos(angle), sine = length * std::sin(angle);
    double error = 2 * std::numbers::pi * bounds::kTurns + position_error * std::abs(angle) + 4 * bounds::kU;
    if (length != 1) error = (error + 2 * bounds::kU) * length;
    if (rotation.rounded) {
      // Where the exact value lies on a border, either neighbour will do.
      const double jump = std::max(rotation.rounded(cosine + error) - rotation.rounded(cosine - error),
                                   rotation.rounded(sine + error) - rotation.rounded(sine - error));
      cosine = rotation.rounded(cosine);
      sine = rotation.rounded(sine);
      error = 4 * bounds::kU + jump;
    }
    value[a] = xa * cosine - xb * sine;
    value[b] = xa * sine + xb * cosine;
    error += rounding;
    bound[a] = bound[b] = (std::abs(xa) + std::abs(xb)) * error;
  }
}

Candidate rotated(Rotation rotation, Text title, int fitted = 0) {
  return {
      [rotation](const Observation& seen, StageProblem& problem) {
        const std::vector<int64_t> block = recorded_positions(*seen.phase, problem.at);
        const double first = static_cast<double>(block.empty() ? problem.positions.front() : block.front());
        problem.how = [rotation, first](const StageProblem& p, const Values& values) {
          Expected expected{{values[0].begin(), values[0].end()}, std::vector<double>(values[0].size(), 0.0)};
          oracle::RopeShape shape = p.rope;
          shape.between = p.declared.roundings.between;
          const size_t head = static_cast<size_t>(shape.head_dim);
          const size_t row = head * static_cast<size_t>(shape.heads);
          for (size_t at = 0; at + head <= values[0].size(); at += head) {
            const double right = static_cast<double>(p.positions[at / row]);
            const double position = rotation.position ? rotation.position(right, first) : right;
            rotate_head(shape, rotation, position, p.declared.angle_rounding, &values[0][at],
                        &expected.value[at], &expected.bound[at]);
          }
          return expected;
        };
        return true;
      },
      std::move(title), fitted};
}

/// |observed - rotated by `rotation`|^2 over the first observation's affected heads in rows [begin, end).
double misfit(const Suspect& s, const Rotation& rotation, int64_t begin = 0,
              int64_t end = std::numeric_limits<int64_t>::max()) {
  const Observation& seen = s.evidence.observations.front();
  const StageProblem& p = *seen.problem;
  const SharedRows& x = p.operands[0].values;
  const size_t head = static_cast<size_t>(p.rope.head_dim);
  std::vector<double> value(head), bound(head);
  double sum = 0;
  for (int64_t row = begin; row < std::min(end, seen.rows); ++row) {
    for (int64_t h = 0; h < seen.heads; ++h) {
      if (!seen.is_affected(row, h)) continue;
      const size_t at = static_cast<size_t>(row * seen.width) + static_cast<size_t>(h) * head;
      std::copy_n(x.begin() + at, head, value.begin());
      const double right = static_cast<double>(p.positions[static_cast<size_t>(row)]);
      rotate_head(p.rope, rotation, rotation.position ? rotation.position(right, right) : right, 0, &x[at],
                  value.data(), bound.data());
      for (size_t i = 0; i < head; ++i) {
        const double error = static_cast<double>(seen.observed[at + i]) - value[i];
        if (std::isfinite(error)) sum += error * error;
      }
    }
  }
  return sum;
}

bool can_fit(const Suspect& s) {
  return s.direct && !s.evidence.observations.front().problem->operands[0].values.empty();
}

/// The minimum of f: a scan of `points`, then golden sections between the neighbours of the best.
double minimum(const std::vector<double>& points, const std::function<double(double)>& f) {
  size_t best = 0;
  std::vector<double> values;
  for (const double point : points) values.push_back(f(point));
  for (size_t i = 1; i < points.size(); ++i) best = values[i] < values[best] ? i : best;
  double low = points[best == 0 ? 0 : best - 1], high = points[std::min(best + 1, points.size() - 1)];
  const double golden = (std::sqrt(5.0) - 1) / 2;
  for (int step = 0; step < 60; ++step) {
    const double a = high - golden * (high - low), b = low + golden * (high - low);
    (f(a) < f(b) ? high : low) = f(a) < f(b) ? b : a;
  }
  return (low + high) / 2;
}

/// Whole positions, which are counted.
Candidate shifted(double shift, int fitted) {
  Candidate candidate = rotated({.position = [shift](double p, double) { return p + shift; }},
                                {fmt::format("the position of RoPE is off by {:+g}", shift),
                                 fmt::format("la posición de RoPE está desplazada en {:+g}", shift)},
                                fitted);
  candidate.counted = true;
  return candidate;
}

Candidate constant(double position, int fitted) {
  Candidate candidate = rotated({.position = [position](double, double) { return position; }},
                                {fmt::format("the position of RoPE is always {:g}", position),
                                 fmt::format("la posición de RoPE es siempre {:g}", position)},
                                fitted);
  candidate.counted = true;
  return candidate;
}

/// Positions that lose their high bits, or start anew after so many.
Candidate wrapped(int64_t after) {
  Candidate candidate =
      rotated({.position = [after](double p, double) { return std::fmod(p, static_cast<double>(after)); }},
              {fmt::format("RoPE takes positions modulo {}", after),
               fmt::format("RoPE toma las posiciones en módulo {}", after)},
              1);
  candidate.counted = true;
  return candidate;
}

/// The positions that rows were rotated to, by their own; each is looked for among those up to its block's
/// last. Empty where a row is rotated to none.
std::map<int64_t, int64_t> positions_seen(const Suspect& s) {
  std::map<int64_t, int64_t> used;
  for (const Observation& seen : s.evidence.observations) {
    if (seen.problem->operands[0].values.empty()) return {};
    const Evidence alone{s.evidence.model, s.evidence.at, {seen}, {}};
    const Suspect one{alone, s.at, true};
    for (int64_t row = 0; row < seen.rows; ++row) {
      const int64_t own = seen.problem->positions[static_cast<size_t>(row)];
      if (!seen.is_affected(row) || used.contains(own)) continue;
      const double wrong = misfit(one, {}, row, row + 1);
      double least = 1e-6 * wrong;
      for (int64_t position = 0; position <= own + 64; ++position) {
        const double p = static_cast<double>(position);
        const double error = misfit(one, {.position = [p](double, double) { return p; }}, row, row + 1);
        if (!(error < least)) continue;
        least = error;
        used[own] = position;
      }
      if (!used.contains(own)) return {};
    }
  }
  return used;
}

/// Rows at other positions than theirs, as they show them.
Candidate at_positions_seen(std::map<int64_t, int64_t> used) {
  constexpr size_t kTold = 4;
  std::string pairs;
  for (auto it = used.begin(); it != used.end() && std::distance(used.begin(), it) < int{kTold}; ++it)
    pairs += fmt::format("{}{} -> {}", pairs.empty() ? "" : ", ", it->first, it->second);
  if (used.size() > kTold) pairs += ", ...";
  const int fitted = used.size() == 1 ? 1 : 3;
  Candidate candidate = rotated({.position =
                                     [map = std::move(used)](double p, double) {
                                       const auto it = map.find(static_cast<int64_t>(p));
                                       return it == map.end() ? p : static_cast<double>(it->second);
                                     }},
                                {"rows are rotated to other positions than theirs: " + pairs,
                                 "las filas se rotan a otras posiciones que las suyas: " + pairs},
                                fitted);
  candidate.counted = true;
  return candidate;
}

/// What the rows' positions have in common. One row has nothing in common with others: it is told as it is.
void add_positions_seen(const Suspect& s, std::vector<Candidate>& candidates) {
  std::map<int64_t, int64_t> used = positions_seen(s);
  std::set<int64_t> shifts, targets;
  for (const auto& [own, position] : used) {
    shifts.insert(position - own);
    targets.insert(position);
  }
  if (targets.empty() || targets == std::set<int64_t>{0}) return;  // rope_omitted's
  if (used.size() > 1) {
    for (int64_t after = 8; after <= used.rbegin()->first; after *= 2) {
      if (std::ranges::all_of(used, [&](const auto& pair) { return pair.second == pair.first % after; }))
        candidates.push_back(wrapped(after));
    }
    if (targets.size() == 1) candidates.push_back(constant(static_cast<double>(*targets.begin()), 1));
    if (shifts.size() == 1) candidates.push_back(shifted(static_cast<double>(*shifts.begin()), 1));
  }
  if (used.size() == 1 || shifts.size() > 1) candidates.push_back(at_positions_seen(std::move(used)));
}

std::vector<Candidate> rope_rounded(const Suspect& s) {
  if (!is_rope(s)) return {};
  const auto nearest = [](Format format) { return [format](double x) { return rounded_to(x, format); }; };
  const auto cut = [](double x) {
    return static_cast<double>(
        std::bit_cast<float>(std::bit_cast<uint32_t>(static_cast<float>(x)) & ~0xffffu));
  };
  const auto frequency = [](auto round) {
    return [round](int64_t pair, const oracle::RopeShape& shape) {
      return round(oracle::rope_frequency(shape, pair));
    };
  };
  std::vector<Candidate> candidates;
  for (const Format format : {Format::bf16, Format::f16}) {
    candidates.push_back(
        rotated({.rounded = nearest(format)},
                {fmt::format("cosines and sines of RoPE are rounded to {}", name(format)),
                 fmt::format("los cosenos y senos de RoPE se redondean a {}", name(format))}));
    candidates.push_back(rotated({.frequency = frequency(nearest(format))},
                                 {fmt::format("the frequencies of RoPE are rounded to {}", name(format)),
                                  fmt::format("las frecuencias de RoPE se redondean a {}", name(format))}));
  }
  candidates.push_back(rotated({.rounded = cut}, {"cosines and sines of RoPE are cut to bf16",
                                                  "los cosenos y senos de RoPE se truncan a bf16"}));
  candidates.push_back(rotated({.frequency = frequency(cut)}, {"the frequencies of RoPE are cut to bf16",
                                                               "las frecuencias de RoPE se truncan a bf16"}));
  return candidates;
}

std::vector<Candidate> rope_position(const Suspect& s) {
  if (!is_rope(s)) return {};
  std::vector<Candidate> candidates{shifted(1, 0), shifted(-1, 0)};
  candidates.push_back(rotated({.position = [](double, double first) { return first; }},
                               {"every row of a block has the position of its first row",
                                "cada fila de un bloque tiene la posición de la primera"}));
  candidates.push_back(
      rotated({.position = [](double p, double first) { return p - first; }},
              {"positions start at 0 in every block: the cache's length is ignored",
               "las posiciones empiezan en 0 en cada bloque: se ignora la longitud de la caché"}));
  // Of a block of one row this says no more than rope_omitted does.
  candidates.back().change = [start = candidates.back().change](const Observation& seen,
                                                                StageProblem& problem) {
    return problem.positions.size() > 1 && start(seen, problem);
  };
  if (!can_fit(s)) return candidates;
  double best = 0, least = misfit(s, {});
  for (int shift = -64; shift <= 64; ++shift) {
    const double error = misfit(s, {.position = [shift](double p, double) { return p + shift; }});
    if (error < least) {
      least = error;
      best = shift;
    }
  }
  if (best != 0) candidates.push_back(shifted(best, 1));
  add_positions_seen(s, candidates);
  return candidates;
}

/// Keys in a cache are as they were before RoPE: kv_unrotated's, where these were recorded.
bool is_told_by_the_cache(const Suspect& s) {
  const Observation& seen = s.evidence.observations.front();
  At before{s.at.layer, s.at.stage};
  while (!is_projection(before.stage)) before.stage = inputs_of(before.stage).front();
  return info(s.evidence.at.stage).kind == StageKind::cache &&
         !recorded_positions(*seen.phase, before).empty();
}

std::vector<Candidate> rope_omitted(const Suspect& s) {
  if (!is_rope(s) || is_told_by_the_cache(s)) return {};
  const Text title{"RoPE is not applied, or its position is always 0",
                   "RoPE no se aplica, o su posición es siempre 0"};
  const auto zero = [](double, double) { return 0.0; };
  std::vector<Candidate> candidates{rotated({.position = zero}, title)};
  const double magnitude = own_rope(s).magnitude;
  if (magnitude != 1)
    candidates.push_back(
        rotated({.position = zero, .length = 1 / magnitude}, {"RoPE is not applied", "RoPE no se aplica"}));
  return candidates;
}

Candidate with_base(double base, double model_base, int fitted) {
  return {[base](const Observation&, StageProblem& problem) {
            problem.rope.base = base;
            return true;
          },
          {fmt::format("the base of RoPE is {:.6g}, not {:.6g}", base, model_base),
           fmt::format("la base de RoPE es {:.6g} en lugar de {:.6g}", base, model_base)},
          fitted};
}

std::vector<Candidate> rope_base(const Suspect& s) {
  if (!is_rope(s)) return {};
  std::vector<Candidate> candidates;
  const double own = own_rope(s).base;
  for (const double base : {1e4, 1e5, 1.5e5, 5e5, 1e6, 1e7}) {
    if (base != own) candidates.push_back(with_base(base, own, 0));
  }
  if (!can_fit(s)) return candidates;
  const auto error = [&](double log_base) {
    const double base = std::exp(log_base);
    return misfit(s, {.frequency = [base](int64_t pair, const oracle::RopeShape& shape) {
                    oracle::RopeShape other = shape;
                    other.base = base;
                    return oracle::rope_frequency(other, pair);
                  }});
  };
  std::vector<double> near, far;
  for (int i = -20; i <= 20; ++i) near.push_back(std::log(own) + 0.002 * i);
  for (int i = 0; i <= 160; ++i) far.push_back(std::log(1e2) + std::log(1e7) * i / 160.0);
  for (const auto& points : {near, far})
    candidates.push_back(with_base(std::exp(minimum(points, error)), own, 1));
  return candidates;
}

std::vector<Candidate> rope_style(const Suspect& s) {
  if (!is_rope(s)) return {};
  const bool adjacent = s.config().rope_adjacent;
  const char* pairs = "(2i, 2i+1)";
  const char* halves = "(i, i + d/2)";
  const char *own = adjacent ? pairs : halves, *other = adjacent ? halves : pairs;
  return {
      rotated({.other_style = true}, {fmt::format("RoPE rotates {} in the place of {}", other, own),
                                      fmt::format("RoPE rota {} en lugar de {}", other, own)}),
      rotated({.other_order = true},
              {fmt::format("RoPE rotates {} of a head whose rows are in the order for {}", own, other),
               fmt::format("RoPE rota {} de una cabeza cuyas filas están en el orden de {}", own, other)})};
}

std::vector<Candidate> rope_twice(const Suspect& s) {
  if (!is_rope(s)) return {};
  return {rotated({.position = [](double p, double) { return 2 * p; }, .length = own_rope(s).magnitude},
                  {"RoPE is applied twice", "RoPE se aplica dos veces"})};
}

/// The dims at the end of a head that are left as they were, in all rows.
int64_t untouched_dims(const Suspect& s) {
  const Observation& seen = s.evidence.observations.front();
  const SharedRows& x = seen.problem->operands[0].values;
  const int64_t head = seen.head_width();
  int64_t untouched = head;
  for (int64_t slice = 0; slice < seen.rows * seen.heads; ++slice) {
    if (!seen.is_affected(slice / seen.heads, slice % seen.heads)) continue;
    int64_t same = 0;
    while (same < untouched) {
      const size_t i = static_cast<size_t>(slice * head + head - 1 - same);
      if (seen.observed[i] != x[i]) break;
      ++same;
    }
    untouched = same;
  }
  return untouched;
}

std::vector<Candidate> rope_dims(const Suspect& s) {
  if (!is_rope(s)) return {};
  std::vector<Candidate> candidates;
  const int64_t own = s.config().rope_dims;
  std::set<int64_t> sizes{own / 4 / 2 * 2, own / 2 / 2 * 2, own * 3 / 4 / 2 * 2};
  const oracle::RopeShape model = own_rope(s);
  if (can_fit(s)) sizes.insert((model.head_dim - model.first - untouched_dims(s)) / 2 * 2);
  for (const int64_t dims : sizes) {
    if (dims <= 0 || dims >= own) continue;
    for (const bool own_frequencies : {true, false}) {
      const int64_t of = own_frequencies ? own : dims;
      candidates.push_back(
          rotated({.frequency =
                       [of](int64_t pair, const oracle::RopeShape& shape) {
                         oracle::RopeShape other = shape;
                         other.rope_dims = of;
                         return oracle::rope_frequency(other, pair);
                       },
                   .dims = dims},
                  {fmt::format("only {} of {} dims of a head are rotated", dims, own),
                   fmt::format("solo se rotan {} de {} dimensiones por cabeza", dims, own)}));
    }
  }
  return candidates;
}

Candidate position_scaled(double factor, int fitted) {
  return rotated(
      {.position = [factor](double p, double) { return p * factor; }},
      {fmt::format("positions are multiplied by {:.6g}: a RoPE scaling that the model does not have", factor),
       fmt::format("las posiciones se multiplican por {:.6g}: un escalado de RoPE que el modelo no tiene",
                   factor)},
      fitted);
}

std::vector<Candidate> rope_scale(const Suspect& s) {
  if (!is_rope(s)) return {};
  std::vector<Candidate> candidates;
  for (const double factor : {0.125, 0.25, 0.5, 4.0, 8.0}) candidates.push_back(position_scaled(factor, 0));
  if (!can_fit(s)) return candidates;
  std::vector<double> points;
  for (int i = 1; i <= 120; ++i) points.push_back(0.025 * i);
  const double factor = minimum(
      points, [&](double f) { return misfit(s, {.position = [f](double p, double) { return p * f; }}); });
  candidates.push_back(position_scaled(factor, 2));
  return candidates;
}

std::vector<Candidate> rope_inverse(const Suspect& s) {
  if (!is_rope(s)) return {};
  return {rotated({.position = [](double p, double) { return -p; }},
                  {"RoPE turns the other way: the sine's sign is wrong",
                   "RoPE gira al revés: el signo del seno es erróneo"})};
}

/// RoPE by other numbers than the model's.
Candidate with_rope(std::function<void(oracle::RopeShape&)> change, Text title) {
  return {[change = std::move(change)](const Observation&, StageProblem& problem) {
            change(problem.rope);
            return true;
          },
          std::move(title)};
}

std::vector<Candidate> rope_yarn(const Suspect& s) {
  if (!is_rope(s)) return {};
  const oracle::RopeShape own = own_rope(s);
  const YarnRope yarn = own.yarn;
  if (yarn.factor == 1) return {};
  using Shape = oracle::RopeShape;
  std::vector<Candidate> candidates;
  const auto add = [&](std::function<void(Shape&)> change, Text title) {
    candidates.push_back(with_rope(std::move(change), std::move(title)));
  };
  const std::string factor = fmt::format("{:.6g}", yarn.factor);
  add([](Shape& shape) { shape.yarn = {}, shape.magnitude = 1; },
      {"YaRN is ignored: RoPE is not stretched", "se ignora YaRN: RoPE no se estira"});
  add([](Shape& shape) { shape.yarn = {}; }, {"the angles are not stretched by YaRN, only the length is",
                                              "YaRN no estira los ángulos, solo la longitud"});
  add([yarn](Shape& shape) { shape.yarn = {}, shape.scale /= yarn.factor; },
      {"all pairs are slowed down by YaRN's factor of " + factor + ": the ramp is missing",
       "todos los pares se frenan por el factor " + factor + " de YaRN: falta la rampa"});
  add([yarn](Shape& shape) { shape.yarn = {}, shape.scale /= yarn.factor, shape.magnitude = 1; },
      {"linear scaling by " + factor + " in the place of YaRN",
       "escalado lineal por " + factor + " en lugar de YaRN"});
  add([](Shape& shape) { shape.yarn.whole_borders = !shape.yarn.whole_borders; },
      yarn.whole_borders ? Text{"the borders of YaRN's ramp are not rounded to whole pairs",
                                "los bordes de la rampa de YaRN no se redondean a pares enteros"}
                         : Text{"the borders of YaRN's ramp are rounded to whole pairs",
                                "los bordes de la rampa de YaRN se redondean a pares enteros"});
  candidates.push_back(
      rotated({.frequency =
                   [](int64_t pair, const Shape& shape) {
                     Shape plain = shape;
                     plain.yarn = {};
                     const double fast = oracle::rope_frequency(plain, pair);
                     return fast + fast / shape.yarn.factor - oracle::rope_frequency(shape, pair);
                   }},
              {"YaRN slows down the fast pairs, not the slow ones: its ramp is the wrong way round",
               "YaRN frena los pares rápidos, no los lentos: su rampa está al revés"}));
  return candidates;
}

/// LongRoPE's other table, or none.
std::vector<Candidate> rope_factors(const Suspect& s) {
  const Model& model = s.model();
  if (!is_rope(s) || model.rope_freqs == nullptr) return {};
  const auto by = [](const Tensor* table, Text title) {
    return with_rope([table](oracle::RopeShape& shape) { shape.factors = table; }, std::move(title));
  };
  const Candidate none = by(nullptr, {"the model's factors of RoPE's frequencies are left out",
                                      "faltan los factores del modelo para las frecuencias de RoPE"});
  if (model.rope_long == nullptr) return {none};
  if (model.rope_freqs == model.rope_long)
    return {none, by(model.rope_short, {"LongRoPE's short factors in the place of the long ones",
                                        "los factores cortos de LongRoPE en lugar de los largos"})};
  return {none, by(model.rope_long, {"LongRoPE's long factors in the place of the short ones",
                                     "los factores largos de LongRoPE en lugar de los cortos"})};
}

std::vector<Candidate> rope_magnitude(const Suspect& s) {
  if (!is_rope(s)) return {};
  const double own = own_rope(s).magnitude;
  if (own == 1) return {};
  const char* whose = s.model().rope_long == nullptr ? "YaRN" : "LongRoPE";
  const auto of = [](double magnitude, Text title) {
    return with_rope([magnitude](oracle::RopeShape& shape) { shape.magnitude = magnitude; },
                     std::move(title));
  };
  return {of(1, {fmt::format("cosines and sines are not multiplied by {0}'s {1:.6g}", whose, own),
                 fmt::format("los cosenos y senos no se multiplican por {1:.6g}, de {0}", whose, own)}),
          of(own * own,
             {fmt::format("cosines and sines are multiplied twice by {0}'s {1:.6g}", whose, own),
              fmt::format("los cosenos y senos se multiplican dos veces por {1:.6g}, de {0}", whose, own)})};
}

constexpr const char* kYarn = "https://github.com/turboderp-org/exllamav3/issues/259";
constexpr const char* kSetting = "https://github.com/Blaizzy/mlx-vlm/pull/1710";

const std::array<Hypothesis, 12> kRope{{
    {"rope_position",
     {"RoPE at another position; the shift is estimated",
      "RoPE en otra posición; el desplazamiento se estima"},
     "https://github.com/Blaizzy/mlx-vlm/pull/1993",
     rope_position},
    {"rope_omitted",
     {"RoPE is not applied, or its position is always 0", "RoPE no se aplica, o su posición es siempre 0"},
     "https://github.com/1bit-MONSTER/1bit-MONSTER/issues/2052",
     rope_omitted},
    {"rope_base",
     {"RoPE uses another base; common values, and an estimate",
      "RoPE usa otra base; valores comunes y una estimación"},
     kSetting,
     rope_base},
    {"rope_style",
     {"halves in the place of adjacent pairs, or the other way round",
      "mitades en lugar de pares adyacentes, o al revés"},
     "https://github.com/ggml-org/llama.cpp/pull/22611",
     rope_style},
    {"rope_twice",
     {"RoPE is applied twice", "RoPE se aplica dos veces"},
     "https://github.com/paiml/aprender/pull/3484",
     rope_twice},
    {"rope_dims",
     {"only a part of a head is rotated", "solo se rota una parte de la cabeza"},
     kSetting,
     rope_dims},
    {"rope_scale",
     {"positions are scaled; the factor is estimated", "las posiciones se escalan; el factor se estima"},
     kSetting,
     rope_scale},
    {"rope_rounded",
     {"cosines and sines, or the frequencies, are kept in 16 bits",
      "los cosenos y senos, o las frecuencias, se guardan en 16 bits"},
     kSetting,
     rope_rounded},
    {"rope_yarn",
     {"the model's YaRN is left out, or its ramp is another", "falta el YaRN del modelo, o su rampa es otra"},
     kYarn,
     rope_yarn},
    {"rope_magnitude",
     {"the factor of cosines and sines of YaRN or LongRoPE is left out, or there twice",
      "el factor de cosenos y senos de YaRN o LongRoPE falta, o se aplica dos veces"},
     kYarn,
     rope_magnitude},
    {"rope_factors",
     {"LongRoPE's short factors in the place of the long ones, or the other way round; no factors",
      "los factores cortos de LongRoPE en lugar de los largos, o al revés; sin factores"},
     "https://github.com/lablup/mlxcel/issues/1358",
     rope_factors},
    {"rope_inverse",
     {"RoPE turns the other way", "RoPE gira al revés"},
     "https://github.com/ml-explore/mlx/issues/3494",
     rope_inverse},
}};

}  // namespace

std::span<const Hypothesis> rope_hypotheses() { return kRope; }

}  // namespace greta

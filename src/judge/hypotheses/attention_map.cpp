#include "judge/hypotheses/attention_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <set>

#include "judge/hypotheses/attention_reading.h"
#include "judge/hypotheses/least_squares.h"
#include "judge/residual_pattern.h"

namespace greta {
namespace {

bool is_like(double error, double size) { return error <= 1e-4 * size; }

/// The wrong row that sees most, and what it was made from.
struct WrongRow {
  const Observation& seen;
  int64_t row, own, slots, heads, kv_heads, d;
  bool scores;

  size_t at(int64_t head, int64_t i) const {
    return static_cast<size_t>(row * seen.width + head * seen.head_width() + i);
  }
  double observed(int64_t head, int64_t i) const { return static_cast<double>(seen.observed[at(head, i)]); }
  double right(int64_t head, int64_t i) const { return seen.right.value[at(head, i)]; }
  int64_t kv_head(int64_t head) const { return head / (heads / kv_heads); }

  /// Of the cache: a key (`half` 0) or a value (1).
  double cached(int64_t half, int64_t slot, int64_t kv, int64_t i) const {
    const SharedRows& cache = seen.problem->operands[1].values;
    return static_cast<double>(cache[static_cast<size_t>(((2 * slot + half) * kv_heads + kv) * d + i)]);
  }
  /// Of the query, or of the weights.
  double operand(int64_t head, int64_t i) const {
    const int64_t width = scores ? d : seen_slots();
    return static_cast<double>(
        seen.problem->operands[0].values[static_cast<size_t>((row * heads + head) * width + i)]);
  }
  int64_t seen_slots() const {
    return std::ssize(seen.problem->operands[0].values) / (std::ssize(seen.problem->positions) * heads);
  }
  double score(int64_t head, int64_t kv, int64_t slot) const {
    double sum = 0;
    for (int64_t i = 0; i < d; ++i) sum += operand(head, i) * cached(0, slot, kv, i);
    const double scaled = sum * seen.problem->attention.scale, cap = seen.problem->attention.cap;
    return cap == 0 ? scaled : cap * std::tanh(scaled / cap);
  }
};

std::optional<WrongRow> telling_row_of(const Suspect& s) {
  if (!s.direct || (s.kind() != StageKind::scores && s.kind() != StageKind::mix)) return std::nullopt;
  std::optional<WrongRow> best;
  for (const Observation& seen : s.evidence.observations) {
    const StageProblem& p = *seen.problem;
    if (p.operands[0].values.empty() || p.operands[1].values.empty()) continue;
    const oracle::AttentionShape& shape = p.attention;
    const int64_t slots = std::ssize(p.operands[1].values) / (2 * shape.n_head_kv * shape.head_dim);
    for (int64_t row = 0; row < seen.rows; ++row) {
      const int64_t own = p.positions[static_cast<size_t>(row)];
      if (!seen.is_affected(row) || own >= slots || own < 1 || (best && own <= best->own)) continue;
      best.emplace(WrongRow{seen, row, own, slots, shape.n_head, shape.n_head_kv, shape.head_dim,
                            s.kind() == StageKind::scores});
    }
  }
  return best;
}

/// What weights of a head make of a KV head's values; position p reads slot_of(p).
template <class SlotOf>
std::vector<double> mixed(const WrongRow& row, int64_t head, int64_t kv, const SlotOf& slot_of) {
  std::vector<double> made(static_cast<size_t>(row.d));
  for (int64_t p = 0; p <= row.own && p < row.seen_slots(); ++p) {
    for (int64_t i = 0; i < row.d; ++i)
      made[static_cast<size_t>(i)] += row.operand(head, p) * row.cached(1, slot_of(p), kv, i);
  }
  return made;
}

/// What a head makes of another's query, or weights, and of a KV head.
std::vector<double> made_by(const WrongRow& row, int64_t head, int64_t kv) {
  if (!row.scores) return mixed(row, head, kv, std::identity{});
  std::vector<double> made;
  for (int64_t slot = 0; slot <= row.own; ++slot) made.push_back(row.score(head, kv, slot));
  return made;
}

bool holds(const WrongRow& row, int64_t head, const std::vector<double>& made) {
  double error = 0, size = 0;
  for (int64_t i = 0; i < std::ssize(made); ++i) {
    const double right = made[static_cast<size_t>(i)], observed = row.observed(head, i);
    if (!std::isfinite(observed) && !std::isfinite(row.right(head, i))) continue;  // beyond a window
    error = std::max(error, std::abs(observed - right));
    size = std::max(size, std::abs(right));
  }
  return size > 0 && is_like(error, size);
}

using HeadsRead = std::map<int64_t, std::pair<int64_t, int64_t>>;  // of each head: which, which KV head

std::string heads_text(const WrongRow& row, const HeadsRead& heads, Language language) {
  constexpr size_t kTold = 3;
  const bool en = language == Language::english;
  std::string text;
  size_t told = 0;
  for (const auto& [head, from] : heads) {
    const auto& [other, kv] = from;
    if (other == head && kv == row.kv_head(head)) continue;
    if (++told > kTold) return text + ", ...";
    text += text.empty() ? "" : ", ";
    const char* what = row.scores ? (en ? "the query" : "la consulta") : (en ? "the weights" : "los pesos");
    const std::string kv_text =
        kv == row.kv_head(head) ? "" : fmt::format(fmt::runtime(en ? ", KV head {}" : ", cabeza KV {}"), kv);
    text +=
        other == head
            ? fmt::format(fmt::runtime(en ? "head {} reads KV head {}" : "la cabeza {} lee la cabeza KV {}"),
                          head, kv)
            : fmt::format(
                  fmt::runtime(en ? "head {} takes {} of head {}{}" : "la cabeza {} toma {} de la {}{}"),
                  head, what, other, kv_text);
  }
  return text;
}

Reading of_heads(const WrongRow& row, const HeadsRead& heads) {
  Reading how;
  const int64_t group = row.heads / row.kv_heads;
  how.kv_head = [heads, group](int64_t head, const oracle::AttentionShape&) {
    const auto it = heads.find(head);
    return it == heads.end() ? head / group : it->second.second;
  };
  how.head = [heads](int64_t head) {
    const auto it = heads.find(head);
    return it == heads.end() ? head : it->second.first;
  };
  return how;
}

Candidate counted(Candidate candidate) {
  candidate.counted = true;
  return candidate;
}

/// "96-112 read the slots 16 before".
std::string slots_text(const std::map<int64_t, std::set<int64_t>>& by_shift, Language language) {
  constexpr size_t kTold = 3;
  const bool en = language == Language::english;
  std::string text;
  size_t told = 0;
  for (const auto& [shift, positions] : by_shift) {
    if (++told > kTold) return text + ", ...";
    text += fmt::format(
        fmt::runtime(en ? "{}positions {} read slot p {:+d}" : "{}las posiciones {} leen p {:+d}"),
        text.empty() ? "" : ", ", index_pattern(positions, language), shift);
  }
  return text;
}

Candidate by_slots(const std::map<int64_t, int64_t>& slots) {
  std::map<int64_t, std::set<int64_t>> by_shift;
  for (const auto& [position, slot] : slots) by_shift[slot - position].insert(position);
  Reading how;
  how.slot = [slots](int64_t p) {
    const auto it = slots.find(p);
    return it == slots.end() ? p : it->second;
  };
  return counted(
      reading(how, {slots_text(by_shift, Language::english), slots_text(by_shift, Language::spanish)}, 2));
}

/// Scores show each slot by itself.
std::vector<Candidate> slots_of_scores(const WrongRow& row) {
  std::map<int64_t, int64_t> slots;
  for (int64_t p = 0; p <= row.own; ++p) {
    bool wrong = false;
    for (int64_t head = 0; head < row.heads; ++head) wrong = wrong || row.seen.is_wrong(row.at(head, p));
    if (!wrong) continue;
    for (int64_t slot = 0; slot < row.slots && !slots.contains(p); ++slot) {
      bool same = slot != p;
      for (int64_t head = 0; head < row.heads && same; ++head) {
        const double made = row.score(head, row.kv_head(head), slot), observed = row.observed(head, p);
        same = is_like(std::abs(observed - made), std::abs(made) + 1e-3);
      }
      if (same) slots[p] = slot;
    }
    if (!slots.contains(p)) return {};
  }
  if (slots.empty()) return {};
  return {by_slots(slots)};
}

/// In a mix they are summed: positions from one on that read slots at one distance.
std::vector<Candidate> slots_of_mix(const WrongRow& row) {
  constexpr double kClear = 1e-6;  // of the error's square
  for (const int64_t shift : {-1, 1, -16, 16, -2, 2, -8, 8, -32, 32, -64, 64}) {
    std::vector<double> left(static_cast<size_t>(row.own) + 1);
    double wrong = 0;
    for (int64_t head = 0; head < row.heads; ++head) {
      const int64_t kv = row.kv_head(head);
      for (int64_t i = 0; i < row.d; ++i) {
        double error = row.observed(head, i) - row.right(head, i);
        wrong += error * error;
        for (int64_t p = row.own; p >= 0; --p) {
          const int64_t slot = std::clamp<int64_t>(p + shift, 0, row.slots - 1);
          error -= row.operand(head, p) * (row.cached(1, slot, kv, i) - row.cached(1, p, kv, i));
          left[static_cast<size_t>(p)] += error * error;
        }
      }
    }
    const auto least = std::ranges::min_element(left);
    const int64_t from = least - left.begin();
    if (!(*least < kClear * wrong) || (from == 0 && std::abs(shift) == 1)) continue;
    Reading how;
    how.slot = [=](int64_t p) { return p >= from ? p + shift : p; };
    return {counted(reading(how,
                            {fmt::format("positions from {} on read slot p {:+d}", from, shift),
                             fmt::format("las posiciones desde {} leen el lugar p {:+d}", from, shift)},
                            2))};
  }
  return {};
}

/// Slots that a tile takes from another place in it, or from its neighbour.
struct TileMap {
  int64_t (*slot)(int64_t p, int64_t tile);
  const char *en, *es;  // {0}: the tile, {1}: two of it
};
constexpr TileMap kTileMaps[] = {
    {[](int64_t p, int64_t t) { return p % (2 * t) >= t ? p - t : p; },
     "positions whose place in {1} is {0} or more read slot p - {0}",
     "las posiciones cuyo lugar en {1} es {0} o más leen p - {0}"},
    {[](int64_t p, int64_t t) { return p % (2 * t) < t ? p + t : p; },
     "positions whose place in {1} is below {0} read slot p + {0}",
     "las posiciones cuyo lugar en {1} es menor que {0} leen p + {0}"},
    {[](int64_t p, int64_t t) { return p ^ t; }, "the halves of every {1} positions are exchanged",
     "las mitades de cada {1} posiciones están intercambiadas"},
    {[](int64_t p, int64_t t) { return p / t * t; }, "every {0} positions read the first one's slot",
     "cada {0} posiciones leen la ranura de la primera"}};

std::vector<Candidate> tiles_of_mix(const WrongRow& row) {
  for (int64_t tile = 2; tile <= row.own; tile *= 2) {
    for (const TileMap& map : kTileMaps) {
      const auto slot_of = [&](int64_t p) { return std::min(map.slot(p, tile), row.slots - 1); };
      bool same = true;
      for (int64_t head = 0; head < row.heads && same; ++head)
        same = holds(row, head, mixed(row, head, row.kv_head(head), slot_of));
      if (!same) continue;
      Reading how;
      how.slot = [slot = map.slot, tile](int64_t p) { return slot(p, tile); };
      return {counted(reading(how,
                              {fmt::format(fmt::runtime(map.en), tile, 2 * tile),
                               fmt::format(fmt::runtime(map.es), tile, 2 * tile)},
                              1))};
    }
  }
  return {};
}

/// The query that a head's scores were made with: they are linear in it.
std::vector<double> query_shown(const WrongRow& row, int64_t head) {
  const size_t d = static_cast<size_t>(row.d);
  std::vector<double> square(d * d), both(d);
  for (int64_t slot = 0; slot <= row.own; ++slot) {
    const double score = row.observed(head, slot) / row.seen.problem->attention.scale;
    if (!std::isfinite(score)) continue;
    for (int64_t i = 0; i < row.d; ++i) {
      const double key = row.cached(0, slot, row.kv_head(head), i);
      both[static_cast<size_t>(i)] += key * score;
      for (int64_t j = 0; j < row.d; ++j)
        square[static_cast<size_t>(i * row.d + j)] += key * row.cached(0, slot, row.kv_head(head), j);
    }
  }
  return solve_least_squares(square, both) ? both : std::vector<double>{};
}

/// Which of its dims the query had in each place, where a row sees more positions than a head has dims;
/// nullopt where it is not the query in another order.
std::optional<std::vector<int64_t>> dims_shown(const WrongRow& row, int64_t head) {
  const std::vector<double> shown = row.own < row.d ? std::vector<double>{} : query_shown(row, head);
  if (shown.empty()) return std::nullopt;
  double size = 0;
  for (int64_t i = 0; i < row.d; ++i) size = std::max(size, std::abs(row.operand(head, i)));
  std::vector<int64_t> query_of;
  for (const double value : shown) {
    int64_t best = 0;
    const auto off = [&](int64_t i) { return std::abs(value - row.operand(head, i)); };
    for (int64_t i = 1; i < row.d; ++i) best = off(i) < off(best) ? i : best;
    if (off(best) > 1e-3 * size || std::ranges::find(query_of, best) != query_of.end()) return std::nullopt;
    query_of.push_back(best);
  }
  return std::ranges::is_sorted(query_of) ? std::nullopt : std::optional(query_of);
}

/// The same for orders of transposed tiles: a dim's bits in another order.
std::optional<std::vector<int64_t>> dims_in_tiles(const WrongRow& row, int64_t head) {
  constexpr int64_t kSlots = 32, kMostDims = 128;
  if (!std::has_single_bit(static_cast<uint64_t>(row.d)) || row.d > kMostDims) return std::nullopt;
  std::vector<int> bits(static_cast<size_t>(std::countr_zero(static_cast<uint64_t>(row.d))));
  std::iota(bits.begin(), bits.end(), 0);
  const auto from = [&](int64_t i) {
    int64_t place = 0;
    for (size_t bit = 0; bit < bits.size(); ++bit) place |= (i >> bits[bit] & 1) << bit;
    return place;
  };
  const int64_t slots = std::min(row.own + 1, kSlots);
  if (slots < 8) return std::nullopt;  // some order would do
  while (std::next_permutation(bits.begin(), bits.end())) {
    const auto holds_at = [&](int64_t slot) {
      double sum = 0, size = 0;
      for (int64_t i = 0; i < row.d; ++i) {
        const double term = row.operand(head, from(i)) * row.cached(0, slot, row.kv_head(head), i);
        sum += term;
        size += std::abs(term);
      }
      const double scale = row.seen.problem->attention.scale;
      return std::abs(row.observed(head, slot) - scale * sum) <= 1e-5 * scale * size;
    };
    int64_t slot = 0;
    while (slot < slots && holds_at(slot)) ++slot;
    if (slot < slots) continue;
    std::vector<int64_t> query_of;
    for (int64_t i = 0; i < row.d; ++i) query_of.push_back(from(i));
    return query_of;
  }
  return std::nullopt;
}

}  // namespace

std::vector<Candidate> dims_read(const Suspect& s) {
  const auto row = telling_row_of(s);
  if (!row || !row->scores || row->seen.problem->attention.cap != 0) return {};
  int64_t head = 0;
  while (head < row->heads && !row->seen.is_affected(row->row, head)) ++head;
  if (head == row->heads) return {};
  std::optional<std::vector<int64_t>> query_of = dims_shown(*row, head);
  if (!query_of) query_of = dims_in_tiles(*row, head);
  if (!query_of) return {};
  std::string text;
  std::vector<int64_t> key_of(query_of->size());
  for (size_t i = 0, told = 0; i < query_of->size(); ++i) {
    const int64_t from = (*query_of)[i];
    key_of[static_cast<size_t>(from)] = static_cast<int64_t>(i);
    if (from != static_cast<int64_t>(i) && ++told <= 4) text += fmt::format("{} <- {}, ", i, from);
  }
  Reading how;
  how.key_dim = [key_of](int64_t i) { return key_of[static_cast<size_t>(i)]; };
  return {counted(reading(how,
                          {fmt::format("dims of a head's query are in another order: {}...", text),
                           fmt::format("las dimensiones de la consulta están en otro orden: {}...", text)},
                          2))};
}

std::vector<Candidate> heads_read(const Suspect& s) {
  const auto row = telling_row_of(s);
  if (!row) return {};
  HeadsRead heads;
  std::vector<std::vector<double>> made;
  for (int64_t other = 0; other < row->heads; ++other) {
    for (int64_t kv = 0; kv < row->kv_heads; ++kv) made.push_back(made_by(*row, other, kv));
  }
  for (int64_t head = 0; head < row->heads; ++head) {
    if (!row->seen.is_affected(row->row, head)) continue;
    for (int64_t i = 0; i < std::ssize(made) && !heads.contains(head); ++i) {
      if (holds(*row, head, made[static_cast<size_t>(i)]))
        heads[head] = {i / row->kv_heads, i % row->kv_heads};
    }
    if (!heads.contains(head)) return {};
  }
  return {counted(
      reading(of_heads(*row, heads),
              {heads_text(*row, heads, Language::english), heads_text(*row, heads, Language::spanish)}, 2))};
}

std::vector<Candidate> slots_read(const Suspect& s) {
  const auto row = telling_row_of(s);
  if (!row) return {};
  if (row->scores) return slots_of_scores(*row);
  std::vector<Candidate> candidates = slots_of_mix(*row);
  return candidates.empty() ? tiles_of_mix(*row) : candidates;
}

}  // namespace greta

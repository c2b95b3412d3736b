// What a KV cache may hold instead of what was given to it.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>

#include "bundle/decode0_row.h"
#include "judge/hypotheses/hypothesis.h"

namespace greta {
namespace {

constexpr double kNever = std::numeric_limits<double>::quiet_NaN();  // a slot that was not written

/// What was recorded beside the cache: kKvNext or kKvBefore; nullptr: nothing.
const std::vector<float>* beside(const Observation& seen, std::string_view stage) {
  const PhaseView& view = seen.phase->view;
  for (const Event& event : view.bundle().events) {
    if (event.stage == stage && event.layer == seen.problem->at.layer && event.phase == view.phase() &&
        event.key() == view.cell())
      return view.bundle().data(event);
  }
  return nullptr;
}

/// The rows of the cache as they ought to be, [positions, 2 * kv_dim], to be moved about: all of a row, or
/// its key or its value.
struct CacheRows {
  Expected& rows;
  size_t width, first, last;  // of a row; the columns that are moved

  size_t count() const { return rows.value.size() / width; }
  auto begin_of(size_t row) { return rows.value.begin() + static_cast<std::ptrdiff_t>(row * width + first); }

  void copy(const std::vector<double>& from, size_t source, size_t target) {
    const auto begin = from.begin() + static_cast<std::ptrdiff_t>(source * width);
    std::copy(begin + static_cast<std::ptrdiff_t>(first), begin + static_cast<std::ptrdiff_t>(last),
              begin_of(target));
  }
  void fill(size_t row, double value) {
    std::fill_n(begin_of(row), static_cast<std::ptrdiff_t>(last - first), value);
  }
};

/// `own`: how many of the last rows this phase wrote.
using Move = std::function<void(CacheRows& cache, const std::vector<double>& right, size_t own)>;

struct RowPart {
  bool keys, values;
  Text of;  // "rows"
};
const RowPart kRows{true, true, {"rows", "las filas"}};
const RowPart kParts[] = {
    kRows, {true, false, {"keys", "las claves"}}, {false, true, {"values", "los valores"}}};

/// Whether the slot after the last holds what belongs in the last; nullopt: not recorded.
std::optional<bool> is_in_next_slot(const Observation& seen, bool values) {
  const std::vector<float>* next = beside(seen, kKvNext);
  const size_t width = static_cast<size_t>(seen.width), last = seen.right.value.size() - width;
  if (next == nullptr || next->size() != width) return std::nullopt;
  for (size_t i = values ? width / 2 : 0; i < (values ? width : width / 2); ++i) {
    const double off = static_cast<double>((*next)[i]) - seen.right.value[last + i];
    if (!(std::abs(off) <= seen.right.bound[last + i])) return false;
  }
  return true;
}

/// Whether what was recorded of the slot after the last speaks against `part` having gone there (or, if not
/// `there`, nowhere).
bool next_slot_denies(const Observation& seen, const RowPart& part, bool there) {
  const auto denies = [&](bool values) {
    const std::optional<bool> is_there = is_in_next_slot(seen, values);
    return is_there && *is_there != there;
  };
  return (part.keys && denies(false)) || (part.values && denies(true));
}

How moving(const Move& move, const RowPart& part) {
  return [move, keys = part.keys, values = part.values](const StageProblem& p, const Values& operands) {
    Expected expected = right_of(p, operands);
    const std::vector<double> right = expected.value;
    const size_t width = right.size() / p.positions.size();
    CacheRows cache{expected, width, keys ? 0 : width / 2, values ? width : width / 2};
    move(cache, right, p.positions.size() - static_cast<size_t>(p.history_rows));
    return expected;
  };
}

Candidate moved(const Move& move, Text title, const RowPart& part = kRows) {
  return {[how = moving(move, part)](const Observation&, StageProblem& problem) {
            if (problem.positions.size() < 2) return false;  // where the row went, or came from, is not seen
            if (problem.history_rows == std::ssize(problem.positions)) return false;  // nothing was written
            problem.how = how;
            return true;
          },
          std::move(title)};
}

/// Other rows in the place of the key's or the value's.
Candidate other_rows(size_t operand, Stage from, Text title) {
  return from_rows(
      operand,
      [from](const Observation& seen, const StageProblem& problem) {
        const std::vector<int64_t> own(problem.positions.begin() + problem.history_rows,
                                       problem.positions.end());
        return recorded_rows(*seen.phase, {problem.at.layer, from}, own);
      },
      std::move(title));
}

/// How the rows that a phase ought to have written look where it did not.
using Fill = std::function<void(CacheRows& cache, const std::vector<double>& right, size_t row)>;
enum class Left { never, zero, before };

/// What a slot of a shared cache may have held before: the row that prefill wrote there, another position's,
/// or zeros; whichever this recording shows in the heads that are wrong.
Fill left_before(const Observation& seen, const StageProblem& problem) {
  const PhaseRecord* before = seen.phase->before;
  const auto earlier =
      before == nullptr ? std::nullopt : recorded_rows(*before, problem.at, problem.positions);
  const std::vector<float>* held = beside(seen, kKvBefore);
  const size_t last = problem.positions.size() - 1;
  return [&seen, earlier, held, last](CacheRows& cache, const std::vector<double>& right, size_t row) {
    const SharedRows& observed = seen.observed;
    const auto is_there = [&](const auto& rows, size_t at) {
      for (size_t i = cache.first; i < cache.last; ++i) {
        if (!seen.in_affected(row * cache.width + i)) continue;
        const double here = static_cast<double>(observed[row * cache.width + i]);
        if (static_cast<double>(rows[at * cache.width + i]) != here) return false;
      }
      return true;
    };
    if (held != nullptr && row == last && held->size() == cache.width && is_there(*held, 0))
      return cache.copy({held->begin(), held->end()}, 0, row);
    if (earlier && is_there(*earlier, row)) return cache.copy({earlier->begin(), earlier->end()}, row, row);
    for (size_t other = 0; other < row; ++other) {
      if (is_there(right, other)) return cache.copy(right, other, row);
    }
    cache.fill(row, 0);
  };
}

/// Position p goes to slot p + by, or (by = 0) nowhere.
Move to_slot(int by, Fill fill) {
  return [by, fill = std::move(fill)](CacheRows& cache, const std::vector<double>& right, size_t own) {
    const size_t first = cache.count() - own;
    for (size_t row = first; row < cache.count(); ++row) fill(cache, right, row);
    for (size_t row = first; by != 0 && row < cache.count(); ++row) {
      if (by < 0 && row == 0) continue;
      const size_t slot = by < 0 ? row - 1 : row + 1;
      if (slot < cache.count()) cache.copy(right, row, slot);
    }
  };
}

/// Of what is to be written, where it was recorded.
bool rows_are_finite(const StageProblem& problem) {
  return std::ranges::all_of(problem.operands,
                             [](const auto& operand) { return all_finite(operand.values); });
}

Candidate in_slot(int by, Left left, const RowPart& part, Text title) {
  const auto change = [by, left, part](const Observation& seen, StageProblem& problem) {
    const int64_t rows = std::ssize(problem.positions);
    const bool direct = problem.at == seen.problem->at;
    if (by != 0 && rows < 2) return false;                            // where the row went is not seen
    if (problem.history_rows == rows) return false;                   // nothing was written
    if (by != 0 && !rows_are_finite(problem)) return false;           // any slot may hold a NaN
    if (direct && next_slot_denies(seen, part, by > 0)) return true;  // it is refuted, not left open
    const bool is_known = seen.phase->before != nullptr || beside(seen, kKvBefore) != nullptr;
    if (left == Left::before && (!direct || !is_known)) return false;
    const auto with = [](double value) {
      return [value](CacheRows& cache, const std::vector<double>&, size_t row) { cache.fill(row, value); };
    };
    const Fill fill =
        left == Left::before ? left_before(seen, problem) : Fill(with(left == Left::zero ? 0.0 : kNever));
    problem.how = moving(to_slot(by, fill), part);
    return true;
  };
  return {.change = change,
          .title = std::move(title),
          .fitted = left == Left::before ? 1 : 0,
          .counted = true,
          .may_be_empty = true};
}

Text title_of_slot(int by, const RowPart& part) {
  if (by > 0)
    return {part.of.en + " are written one slot too late: position p goes to slot p + 1",
            part.of.es + " se escriben una ranura después: la posición p va a la ranura p + 1"};
  return {part.of.en + " are written one slot too early: position p goes to slot p - 1",
          part.of.es + " se escriben una ranura antes: la posición p va a la ranura p - 1"};
}

/// What stands in the rows of a part: another position's, or something else.
using SlotsSeen = std::map<int64_t, int64_t>;  // wrong slots, of which position; -1: something else

bool same_part(const Observation& seen, const CacheRows& part, size_t slot, size_t of) {
  for (size_t i = part.first; i < part.last; ++i) {
    const double right = seen.right.value[of * part.width + i];
    const double bound = seen.right.bound[of * part.width + i];
    if (!(std::abs(static_cast<double>(seen.observed[slot * part.width + i]) - right) <= bound)) return false;
  }
  return true;
}

SlotsSeen slots_seen(const Observation& seen, const CacheRows& part) {
  SlotsSeen slots;
  const std::vector<int64_t>& positions = seen.problem->positions;
  for (size_t slot = 0; slot < positions.size(); ++slot) {
    if (same_part(seen, part, slot, slot)) continue;
    size_t of = 0;
    while (of < positions.size() && !same_part(seen, part, slot, of)) ++of;
    slots[positions[slot]] = of == positions.size() ? -1 : positions[of];
  }
  return slots;
}

std::string held_text(const std::map<int64_t, int64_t>& holds, Language language) {
  constexpr size_t kTold = 4;
  const bool en = language == Language::english;
  std::string text;
  size_t told = 0;
  for (const auto& [slot, position] : holds) {
    if (position < 0) continue;
    if (++told > kTold) return text + ", ...";
    text += text.empty() ? "" : ", ";
    text += fmt::format(fmt::runtime(en ? "slot {} holds position {}'s" : "el lugar {} tiene la posición {}"),
                        slot, position);
  }
  return text;
}

/// Rows that are where no one rule puts them: which, is read from what the slots hold.
std::vector<Candidate> kv_slots_seen(const Suspect& s) {
  if (s.kind() != StageKind::cache || !s.direct) return {};
  std::vector<Candidate> candidates;
  for (const RowPart& part : kParts) {
    std::map<int64_t, int64_t> holds;
    size_t moved = 0;
    const auto part_of = [part](const Observation& seen, Expected& rows) {
      const size_t width = static_cast<size_t>(seen.width);
      return CacheRows{rows, width, part.keys ? 0 : width / 2, part.values ? width : width / 2};
    };
    for (const Observation& seen : s.evidence.observations) {
      Expected rows;
      const SlotsSeen slots = slots_seen(seen, part_of(seen, rows));
      for (const auto& [slot, position] : slots) {
        holds.emplace(slot, position);
        moved += position >= 0;
      }
    }
    // The others may hold anything older; where they are most, this says too little.
    if (8 * moved < holds.size() || moved == 0) continue;
    const auto change = [part_of](const Observation& seen, StageProblem& problem) {
      problem.how = [part_of, &seen](const StageProblem& p, const Values& operands) {
        Expected expected = right_of(p, operands);
        const std::vector<double> right = expected.value;
        CacheRows cache = part_of(seen, expected);
        const SlotsSeen slots = slots_seen(seen, cache);
        const auto index = [&](int64_t position) {
          return static_cast<size_t>(std::ranges::find(p.positions, position) - p.positions.begin());
        };
        for (const auto& [slot, position] : slots) {
          const size_t at = index(slot);
          if (position >= 0) {
            cache.copy(right, index(position), at);
          } else {
            for (size_t i = at * cache.width + cache.first; i < at * cache.width + cache.last; ++i)
              expected.value[i] = static_cast<double>(seen.observed[i]);
          }
        }
        return expected;
      };
      return true;
    };
    Candidate candidate{
        change,
        {part.of.en + " are in other slots than theirs: " + held_text(holds, Language::english),
         part.of.es + " están en otros lugares: " + held_text(holds, Language::spanish)},
        3};
    candidate.counted = true;
    candidates.push_back(std::move(candidate));
  }
  return candidates;
}

std::vector<Candidate> kv_slot(const Suspect& s) {
  // A slot is of whole rows, keys or values: not of the columns that a condition leaves.
  if (s.kind() != StageKind::cache || !s.evidence.observations.front().inside.empty()) return {};
  std::vector<Candidate> candidates;
  for (const RowPart& part : kParts) {
    for (const int by : {1, -1}) {
      for (const Left left : {Left::never, Left::zero, Left::before})
        candidates.push_back(in_slot(by, left, part, title_of_slot(by, part)));
    }
  }
  for (Candidate& candidate : kv_slots_seen(s)) candidates.push_back(std::move(candidate));
  return candidates;
}

std::vector<Candidate> kv_not_written(const Suspect& s) {
  if (s.kind() != StageKind::cache) return {};
  std::vector<Candidate> candidates;
  for (const RowPart& part : kParts) {
    const auto left = [&](Left what, const char* en, const char* es) {
      candidates.push_back(in_slot(0, what, part,
                                   {part.of.en + " are never written to their slot: it " + en,
                                    part.of.es + " no se escriben nunca en su ranura: " + es}));
    };
    left(Left::never, "holds what uninitialised memory held", "contiene memoria sin inicializar");
    left(Left::zero, "is zero", "es cero");
    left(Left::before, "holds what was there before", "contiene lo que había antes");
  }
  return candidates;
}

std::vector<Candidate> kv_history(const Suspect& s) {
  if (s.kind() != StageKind::cache) return {};
  const auto clobber = [](bool last) {
    return [last](CacheRows& cache, const std::vector<double>& right, size_t own) {
      if (cache.count() < 2) return;
      cache.copy(right, last ? cache.count() - 1 : cache.count() - own, 0);
    };
  };
  const auto forget = [](CacheRows& cache, const std::vector<double>&, size_t own) {
    if (cache.count() > own) cache.fill(cache.count() - own - 1, kNever);
  };
  std::vector<Candidate> candidates{
      moved(clobber(true), {"writing the last row also overwrites position 0",
                            "al escribir la última fila se sobrescribe también la posición 0"}),
      moved(clobber(false), {"writing a block also overwrites position 0",
                             "al escribir un bloque se sobrescribe también la posición 0"}),
      moved(forget,
            {"the position before the block is lost: its slot holds what uninitialised memory held",
             "la posición anterior al bloque se pierde: su ranura contiene memoria sin inicializar"})};
  candidates.back().may_be_empty = true;
  return candidates;
}

/// Of MLA keys and values have different widths: neither can be in the other's place.
bool is_plain_cache(const Suspect& s) { return s.kind() == StageKind::cache && !s.config().is_latent(); }

std::vector<Candidate> kv_swapped(const Suspect& s) {
  if (!is_plain_cache(s)) return {};
  return {
      {[](const Observation&, StageProblem& problem) {
         std::swap(problem.operands[0], problem.operands[1]);
         return true;
       },
       {"keys and values are exchanged in the cache", "claves y valores están intercambiados en la caché"}}};
}

std::vector<Candidate> kv_unrotated(const Suspect& s) {
  if (!is_plain_cache(s)) return {};
  const std::vector<At> made = operands_at(s.config(), s.at);
  const Stage key = made[0].stage, value = made[1].stage;
  Stage unrotated = key;
  while (!is_projection(unrotated)) unrotated = inputs_of(unrotated).front();
  return {
      other_rows(0, unrotated, {"keys are cached before RoPE", "las claves se guardan antes de RoPE"}),
      other_rows(1, key,
                 {"the key is cached in the value's place", "la clave se guarda en el lugar del valor"}),
      other_rows(0, value,
                 {"the value is cached in the key's place", "el valor se guarda en el lugar de la clave"})};
}

/// Rows of a block all take one row's key and value.
std::vector<Candidate> kv_duplicated(const Suspect& s) {
  if (s.kind() != StageKind::cache) return {};
  const auto all_from = [](bool last) {
    return [last](CacheRows& cache, const std::vector<double>& right, size_t own) {
      const size_t first = cache.count() - own;
      for (size_t row = first; row < cache.count(); ++row)
        cache.copy(right, last ? cache.count() - 1 : first, row);
    };
  };
  return {moved(all_from(false), {"every row of a block holds its first row's key and value",
                                  "cada fila de un bloque contiene la clave y el valor de la primera"}),
          moved(all_from(true), {"every row of a block holds its last row's key and value",
                                 "cada fila de un bloque contiene la clave y el valor de la última"})};
}

constexpr const char* kSlots = "https://github.com/gittensor-ai-lab/sparkinfer/issues/146";

const std::array<Hypothesis, 6> kCache{{
    {"kv_slot",
     {"rows are written to the neighbouring slot", "las filas se escriben en la ranura vecina"},
     kSlots,
     kv_slot},
    {"kv_not_written",
     {"a slot is not written", "una ranura no se escribe"},
     "https://github.com/vllm-project/vllm-ascend/pull/6558",
     kv_not_written},
    {"kv_history_overwritten",
     {"writing a row also overwrites an earlier one", "al escribir una fila se sobrescribe otra anterior"},
     "https://github.com/kekzl/imp/pull/1709",
     kv_history},
    {"kv_swapped",
     {"keys and values are exchanged", "claves y valores están intercambiados"},
     "https://github.com/paiml/realizar/issues/94",
     kv_swapped},
    {"kv_unrotated",
     {"keys are cached before RoPE, or one of the two in the other's place",
      "las claves se guardan antes de RoPE, o una en lugar de la otra"},
     "https://github.com/paiml/realizar/issues/94",
     kv_unrotated},
    {"kv_duplicated",
     {"all rows of a block hold one row's key and value",
      "todas las filas de un bloque contienen la clave y el valor de una"},
     "https://github.com/tenstorrent/tt-xla/issues/5940",
     kv_duplicated},
}};

}  // namespace

std::span<const Hypothesis> cache_hypotheses() { return kCache; }

}  // namespace greta

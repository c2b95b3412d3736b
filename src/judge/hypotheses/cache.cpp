// What a KV cache may hold instead of what was given to it.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "judge/hypotheses/hypothesis.h"

namespace greta {
namespace {

constexpr double kNever = std::numeric_limits<double>::quiet_NaN();  // a slot that was not written

/// The rows of the cache as they ought to be, [positions, 2 * kv_dim], to be moved about.
struct CacheRows {
  Expected& rows;
  size_t width;
  size_t count() const { return rows.value.size() / width; }

  void copy(const std::vector<double>& from, size_t source, size_t target) {
    std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(source * width), width,
                rows.value.begin() + static_cast<std::ptrdiff_t>(target * width));
  }
  void fill(size_t row, double value) {
    std::fill_n(rows.value.begin() + static_cast<std::ptrdiff_t>(row * width), width, value);
  }
};

/// `own`: how many of the last rows this phase wrote.
using Move = std::function<void(CacheRows& cache, const std::vector<double>& right, size_t own)>;

Candidate moved(Move move, Text title) {
  Candidate candidate = changed_afterwards(
      [move = std::move(move)](const StageProblem& p, const Values&, Expected& expected) {
        const std::vector<double> right = expected.value;
        CacheRows cache{expected, expected.value.size() / p.positions.size()};
        move(cache, right, p.positions.size() - static_cast<size_t>(p.history_rows));
      },
      std::move(title));
  candidate.change = [change = candidate.change](const Observation& seen, StageProblem& problem) {
    if (problem.positions.size() < 2) return false;  // where the row went, or came from, is not seen
    if (problem.history_rows == std::ssize(problem.positions)) return false;  // nothing was written
    return change(seen, problem);
  };
  return candidate;
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

/// Position p in slot p + by; what is never written holds `empty`.
Candidate slots_shifted(int by, double empty) {
  const auto move = [by, empty](CacheRows& cache, const std::vector<double>& right, size_t own) {
    const size_t first = cache.count() - own;
    for (size_t row = first; row < cache.count(); ++row) cache.fill(row, empty);
    for (size_t row = first; row < cache.count(); ++row) {
      if (by < 0 && row == 0) continue;
      const size_t slot = by < 0 ? row - 1 : row + 1;
      if (slot < cache.count()) cache.copy(right, row, slot);
    }
  };
  return by > 0 ? moved(move, {"rows are written one slot too late: position p goes to slot p + 1",
                               "las filas se escriben un lugar después: la posición p va al lugar p + 1"})
                : moved(move, {"rows are written one slot too early: position p goes to slot p - 1",
                               "las filas se escriben un lugar antes: la posición p va al lugar p - 1"});
}

std::vector<Candidate> kv_slot(const Suspect& s) {
  if (s.kind() != StageKind::cache) return {};
  std::vector<Candidate> candidates;
  for (const int by : {1, -1}) {
    for (const double empty : {kNever, 0.0}) candidates.push_back(slots_shifted(by, empty));
  }
  return candidates;
}

std::vector<Candidate> kv_not_written(const Suspect& s) {
  if (s.kind() != StageKind::cache) return {};
  const auto left = [](double value, Text title) {
    return changed_afterwards(
        [value](const StageProblem& p, const Values&, Expected& expected) {
          const size_t width = expected.value.size() / p.positions.size();
          const auto own = expected.value.begin() + p.history_rows * static_cast<std::ptrdiff_t>(width);
          std::fill(own, expected.value.end(), value);
        },
        std::move(title));
  };
  return {left(kNever, {"the slot was never written: it holds what uninitialised memory held",
                        "el lugar no se escribió nunca: contiene memoria sin inicializar"}),
          left(0.0, {"the slot was never written: it is zero", "el lugar no se escribió nunca: es cero"})};
}

std::vector<Candidate> kv_history(const Suspect& s) {
  if (s.kind() != StageKind::cache) return {};
  const auto clobber = [](bool last) {
    return [last](CacheRows& cache, const std::vector<double>& right, size_t own) {
      if (cache.count() < 2) return;
      cache.copy(right, last ? cache.count() - 1 : cache.count() - own, 0);
    };
  };
  return {moved(clobber(true), {"writing the last row also overwrites position 0",
                                "al escribir la última fila se sobrescribe también la posición 0"}),
          moved(clobber(false), {"writing a block also overwrites position 0",
                                 "al escribir un bloque se sobrescribe también la posición 0"})};
}

std::vector<Candidate> kv_swapped(const Suspect& s) {
  if (s.kind() != StageKind::cache) return {};
  return {
      {[](const Observation&, StageProblem& problem) {
         std::swap(problem.operands[0], problem.operands[1]);
         return true;
       },
       {"keys and values are exchanged in the cache", "claves y valores están intercambiados en la caché"}}};
}

std::vector<Candidate> kv_unrotated(const Suspect& s) {
  if (s.kind() != StageKind::cache) return {};
  const Stage key = inputs_of(s.at.stage)[0], value = inputs_of(s.at.stage)[1];
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
     {"rows are written to the neighbouring slot", "las filas se escriben en el lugar vecino"},
     kSlots,
     kv_slot},
    {"kv_not_written",
     {"a slot is not written", "un lugar no se escribe"},
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

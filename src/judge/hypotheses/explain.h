#pragma once
// Which hypothesis explains a finding: each is tried on the rows that are wrong, and scored by what it
// leaves.

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "judge/hypotheses/hypothesis.h"

namespace greta {

struct Explanation {
  const Hypothesis* hypothesis = nullptr;
  Text title;
  // 1 - |observed - hypothesis| / |observed - oracle|, over affected rows, heads.
  double explained_residual = 0;
  double noise_ratio = 0;  // |observed - hypothesis| / bound: 1 or less reproduces it within rounding
  int fitted = 0;
  HeldUp held_up = HeldUp::nothing_estimated;
  bool seen = false;               // recorded, not supposed
  bool overreaches = false;        // it would have changed rows or heads that are right
  std::string by_arithmetic = {};  // that it was tried with, where the kernels' is not known
};

/// Within rounding, and nearer than the right computation: a hypothesis that widens the bound (sums in bf16)
/// covers much that it does not explain.
bool covers(const Explanation& explanation);

/// And what was estimated holds up elsewhere.
bool reproduces(const Explanation& explanation);

/// The best of a hypothesis's candidates, or of those of this title; nullopt when none applies.
std::optional<Explanation> best_of(const Hypothesis& hypothesis, const Evidence& evidence,
                                   const std::function<Evidence()>& elsewhere = {},
                                   std::string_view title = {});

/// What a projection's candidate makes of a few outputs of the first observation, by the arithmetic that it
/// is judged by or by another: explained residual and noise ratio. nullopt where a few can't be made alone,
/// or are no fewer.
struct OfSome {
  double explained = 0, noise_ratio = 0;
};
std::optional<OfSome> on_some_outputs(const Candidate& candidate, const Suspect& suspect,
                                      const Declared* by = nullptr);

/// Hypotheses to try: the likely ones first, and all others where none of these reproduces the output.
struct Search {
  std::vector<std::string> likely = {};
  bool in_full = true;  // else the likely ones alone
  /// By which stages of the kind were explained, where their own was not known: as by_arithmetic says it.
  std::vector<std::string> arithmetic = {};
  /// The same stage in another layer, which must agree about numbers that its own rows can't tell; or none.
  std::function<Evidence()> elsewhere = {};
};

/// The best candidate of each hypothesis that was tried and applies, best first. `threads` share the work.
std::vector<Explanation> explain(const Evidence& evidence, const Search& search = {}, int threads = 1);

/// Rivals closer than this are not told apart.
inline constexpr double kMargin = 0.005;

/// Puts the winner into the finding, or "unexplained" or "ambiguous"; the runner-up; what was ruled out. Only
/// what reproduces is a name.
void name_cause(std::span<const Explanation> explanations, Finding& finding);

}  // namespace greta

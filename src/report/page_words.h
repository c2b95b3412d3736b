#pragma once
// What the page says besides the sentences of the reports, in both languages; and its colours.

#include <iterator>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace greta::report {

/// A step of the map's scale: noise ratios up to `most`, by class of the style. The rest, infinite and NaN
/// too, are "c9"; "u" is what was not judged.
struct Heat {
  double most;
  const char* style;
  const char* label;
};
inline constexpr Heat kHeat[] = {{0, "c0", "0"},     {0.5, "c1", "≤ 0.5"},  {1, "c2", "≤ 1"},
                                 {10, "c3", "≤ 10"}, {1e3, "c4", "≤ 10^3"}, {1e6, "c5", "≤ 10^6"}};

enum class Word {
  fix_first,
  coverage,
  judged,
  unmeasured,
  measured_places,
  unmeasured_places,
  map,
  map_help,
  findings,
  evidence,
  experiments,
  prompts,
  whole,
  // the script's
  all_cells,
  least,
  search,
  stage,
  close,
  not_judged,
  worst_of,
  ratio,
  histogram,
  of_bound,
  rows_heads,
  row,
  head,
  layers_rows,
  layers_heads,
  values,
  element,
  observed,
  oracle,
  bound,
  kernel,
  route,
  arithmetic,
  hypotheses,
  intervention,
  before,
  after,
  logits,
  removed,
  not_removed,
  by_cell,
  found,
  count_
};

struct WordText {
  Word word;
  const char* key;  // in the page's data
  const char* en;
  const char* es;
};

const WordText& page_word(Word word);

/// {"key": [en, es]}
nlohmann::json page_words_json();

}  // namespace greta::report

#pragma once
// A verdict's facts as sentences: what the three documents have in common. Written in sentences.cpp (verdict,
// conclusion, next steps), effect_sentences.cpp and finding_note.cpp.

#include <array>
#include <string>
#include <vector>

#include "report/facts.h"
#include "report/phrases.h"
#include "report/report.h"

namespace greta::report {

/// In the order of their columns.
inline constexpr std::array kPairStatuses{PairStatus::equal, PairStatus::rounding, PairStatus::fault,
                                          PairStatus::propagated, PairStatus::missing};

struct Writer {
  Writer(const Report& report, Language in) : verdict(report.verdict), facts(report.facts), language(in) {}

  const Verdict& verdict;
  const Facts& facts;
  Language language;

  /// prefill_last and decode0 are of different tokens.
  bool is_misaligned() const { return !verdict.aligned && facts.any_pair; }
  std::string headline() const;
  std::string verdict_sentence() const;
  /// What GRETA concludes, strongest first.
  std::vector<std::string> conclusion() const;
  std::string flagged(const Flag& flag) const;
  std::vector<std::string> next_steps() const;
  /// Whether decode0's cache row was seen to be written; empty where it was.
  std::vector<std::string> untested() const;
  /// What was inferred of the arithmetic, and where prefill's is another than decode's. May be empty.
  std::vector<std::string> arithmetic() const;
  std::string wrong_values(const Factor& factor) const;
  /// What tells wrong recordings from right ones.
  std::vector<std::string> factors() const;
  /// "layer 0, stage q, phase prefill".
  std::string place(const FindingGroup& finding) const;
  /// The whole note: cause, evidence, rivals, origin, figures, where it was seen, where to look.
  std::vector<std::string> finding(const FindingGroup& finding) const;
  /// The cause and what speaks for it.
  std::vector<std::string> finding_brief(const FindingGroup& finding) const;
  /// The command that shows it and little else; "" where nothing smaller is known.
  std::string smallest_command(const FindingGroup& finding) const;
  std::string method() const;
  /// Recorded ops: those that are wrong, not measured, of an inferred arithmetic; then how many there are.
  std::vector<std::string> ops() const;
  std::string ops_headline() const;
  std::vector<std::string> coverage() const;
  /// What the run did not exercise; none where it does not say.
  std::vector<std::string> not_exercised() const;
  /// What was held against the recorded program, and what was judged beside the matrix. May be empty.
  std::vector<std::string> exercised() const;
  std::string attestation() const;
  std::string logits() const;
  /// Whether routes were forced or told. Where an engine of its own recorded, the matrix has nothing to show.
  bool has_routes() const;
  std::string table_heading() const;  // of B3.31's table
  /// A verdict's word, as JSON has it or as the language says it.
  std::string word(std::string_view status) const;
  std::string yes_no(bool value) const { return say(value ? Phrase::yes : Phrase::no); }

  template <class... Args>
  std::string say(Phrase which, const Args&... args) const {
    return report::say(language, which, args...);
  }

 private:
  // effect_sentences.cpp
  std::vector<std::string> factor_effects() const;
  std::vector<std::string> effects_on_fault() const;
  std::vector<std::string> effects_on_table() const;
  std::string effect_on_fault(const Effect& effect, Phrase factor) const;
  std::string effect_of_phase() const;
  std::string mae_of() const;  // "Q", "down in layer 3"

  // finding_note.cpp; "" or no sentence when there is nothing to say
  std::string title(const Finding& finding) const;
  std::string in_phase(const Finding& finding) const;
  std::vector<std::string> cause(const Finding& finding) const;
  std::vector<std::string> difference(const Finding& finding) const;
  std::string runner_up(const Finding& finding) const;
  std::string ruled_out(const Finding& finding) const;
  std::vector<std::string> since(const Finding& finding) const;
  std::string element(const Finding& finding) const;
  std::string gap(const Finding& finding) const;
  std::string pattern(const FindingGroup& group) const;
  std::vector<std::string> intervention(const FindingGroup& group) const;
  std::vector<std::string> shared(const FindingGroup& group) const;
  std::string scope(const Factor& factor) const;
  std::string numbers(const Finding& finding) const;
  std::vector<std::string> figures(const Finding& finding) const;
  std::string cells_of(const Finding& finding) const;
  std::string look(const Finding& finding) const;

  std::vector<std::string> next_for(const FindingGroup& finding) const;
};

/// Found and told by what makes a difference of runs go, not by the oracle.
bool is_of_runs(const Finding& finding);

/// "E0, E1 x p4_sys, p5_ba" where many cells are such a product, else at most eight names and how many more.
std::string cell_list(const std::vector<CellKey>& cells, Language language);

/// Three significant digits; more where three would hide on which side of 1 the value is.
std::string brief(double value);

/// An explained residual: two digits, more near 1, where they tell rivals apart; 0 for what explains nothing.
std::string residual(double value);

}  // namespace greta::report

#pragma once
// A verdict's facts as sentences: what the analysis, the Markdown reports and the terminal have in common.

#include <string>
#include <vector>

#include "report/facts.h"
#include "report/phrases.h"

namespace greta::report {

struct Writer {
  const isolate::Verdict& verdict;
  const Facts& facts;
  Language language;

  std::string verdict_sentence() const;
  /// What GRETA concludes, strongest first.
  std::vector<std::string> conclusion() const;
  std::vector<std::string> next_steps() const;
  /// "layer 0, stage q, phase prefill".
  std::string place(const FindingGroup& finding) const;
  /// The cause, its figures, where it was seen and who could not see it.
  std::vector<std::string> finding(const FindingGroup& finding) const;
  std::vector<std::string> coverage() const;
  std::string attestation() const;
  std::string logits() const;

  template <class... Args>
  std::string say(Phrase which, const Args&... args) const {
    return report::say(language, which, args...);
  }

 private:
  std::vector<std::string> factor_effects() const;
  std::string next_for(const FindingGroup& finding) const;
};

/// "E0, E1 x p4_sys, p5_ba" where many cells are such a product, else at most eight names and how many more.
std::string cell_list(const std::vector<std::string>& cells, Language language);

/// Three significant digits.
std::string brief(double value);

}  // namespace greta::report

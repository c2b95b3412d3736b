#pragma once
// Reports: the same verdict as text, JSON and Markdown in two languages. What they say is a Document
// (document.h); how it looks is its printer's business.

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/text.h"
#include "report/document.h"
#include "report/facts.h"
#include "verdict/verdict.h"

namespace greta::report {

/// A verdict with what its numbers say, found out once for all reports of it. The verdict must outlive it.
struct Report {
  Report(const Verdict& of)
      : verdict(of), facts(facts_of(of)) {}  // a verdict does where a report is asked for

  const Verdict& verdict;
  const Facts facts;
};

/// verdict.json, schema "greta.verdict/1".
nlohmann::json to_json(const Verdict& verdict);

/// Summary, method, results, conclusion, next step.
Document full_report(const Report& report, Language language);

/// What matters, for a terminal, in English.
Document brief_report(const Report& report);

/// B3.31's analysis, in English: its table, followed by a conclusion.
Document b3_31_report(const Report& report);

/// The table of B3.31 with its columns and number format (MAE as %.5e, routes as MFMA / VALU), experiments x
/// prompts.
Table b3_31_table(const Verdict& verdict);

/// The three of them as they are written: report.en.md and report.es.md; b3_31_analysis.txt; and what
/// `greta isolate` prints: fits 80 columns; `colour` adds ANSI colours.
std::string markdown(const Report& report, Language language);
std::string b3_31_analysis(const Report& report);
std::string terminal(const Report& report, bool colour);

/// Writes the files of kArtifacts (artifacts.h) into `directory`; with `archive` also artifacts.tgz of these
/// and of the bundle's files. A machine Error when something can't be written.
void write_files(const Report& report, const std::string& directory, bool archive = false);

}  // namespace greta::report

#pragma once
// Reports: the same verdict as text, JSON and Markdown in two languages.

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/text.h"
#include "verdict/verdict.h"

namespace greta::report {

/// verdict.json, schema "greta.verdict/1".
nlohmann::json to_json(const Verdict& verdict);

/// The table of B3.31 with its columns and number format (MAE as %.5e, routes as MFMA / VALU), experiments x
/// prompts, followed by a conclusion.
std::string b3_31_table(const Verdict& verdict);     // the table alone, Markdown
std::string b3_31_analysis(const Verdict& verdict);  // b3_31_analysis.txt

/// report.en.md, report.es.md: summary, method, results, conclusion, next step.
std::string markdown(const Verdict& verdict, Language language);

/// What `greta isolate` prints: fits 80 columns; `colour` adds ANSI colours.
std::string terminal(const Verdict& verdict, bool colour);

/// Writes verdict.json, b3_31_analysis.txt, report.en.md, report.es.md into `directory`, then artifacts.tgz
/// of these and of the bundle's files. A machine Error when something can't be written.
void write_files(const Verdict& verdict, const std::string& directory);

}  // namespace greta::report

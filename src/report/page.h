#pragma once
// report.html: one file that shows a verdict without network or library, readable without its script too. The
// sentences are those of the Markdown (document.h, writer.h); the page adds the map and what is behind it.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/text.h"
#include "report/document.h"
#include "report/report.h"

namespace greta::report {

/// Of isolate and diagnose.
std::string page(const Report& report);

/// Of a report that has no map: its documents, English and Spanish or English alone. `graphic`: an SVG of
/// ours, shown first; or none.
std::string document_page(const std::string& title, const std::vector<Document>& languages,
                          const std::string& graphic = {});

/// repro.py of `greta repro`.
std::string repro_script();

/// What the page's script shows of a place (page/page.js); numbers have four digits.
nlohmann::json page_data(const Report& report);

}  // namespace greta::report

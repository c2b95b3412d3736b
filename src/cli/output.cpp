#include "cli/output.h"

#include "io/json_fields.h"
#include "report/layout.h"

namespace greta::cli {

void say_report(std::string_view report) { fmt::print("{}", report); }

void say_report(const report::Document& document) {
  say_report(report::to_terminal(document, report::kColumns, false));
}

void say_json(const nlohmann::json& json, int indent) { fmt::print("{}\n", dump_json(json, indent)); }

}  // namespace greta::cli

#pragma once
// How a verdict leaves the program: for people, or in one of the formats for machines.

#include "bundle/bundle.h"
#include "cli/common.h"
#include "model/model.h"
#include "report/report.h"

namespace greta::cli {

void add_format_option(Command& command, CommonOptions& options);
/// The same, and --json.
void add_format_options(Command& command, CommonOptions& options);

void add_archive_option(Command& command, CommonOptions& options);

/// Where GitHub asks for a step's summary, `summary` (Markdown) is added to it.
void add_step_summary(const Context& context, const std::string& summary);

/// Where not all of the model is known: why, on stderr.
void say_not_known(const Model& model);

/// check_bundle(), and on stderr what it took for granted.
void check_fits(const Bundle& bundle, Model& model, bool force);

/// On stdout as the options say; the format "github" also writes the step's summary.
void say_verdict(const report::Report& report, const CommonOptions& options, const Context& context);

}  // namespace greta::cli

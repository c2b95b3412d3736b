#pragma once
// --part i/n of isolate and diagnose, and `merge`: the same command again, which knows what its parts judged.

#include "bundle/bundle.h"
#include "cli/common.h"
#include "judge/part.h"

namespace greta::cli {

void add_part_option(Command& command, std::string& part);

/// --part as a value; the whole without one. An input Error where a part has no directory.
Share chosen_part(const std::string& part, const std::string& out);

/// What the parts that merge was given judged; nothing where this is no merge.
/// An input Error for parts of another model's run.
KnownJudgements known_from_parts(const Context& context, const Bundle& bundle);

/// Leaves this part's judgements in `directory`, and says so.
void write_part(const Context& context, const CommonOptions& options, const Bundle& bundle, const Share& part,
                const std::string& directory, KnownJudgements judgements);

}  // namespace greta::cli

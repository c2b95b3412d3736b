#pragma once
// The causes that runs which must agree bit for bit are tried against: what was varied alone when the
// difference came or went. (What the oracle convicts is tried against judge/hypotheses/.)

#include <span>
#include <string_view>

#include "base/text.h"

namespace greta {

enum class RunCause {
  fused_kernel,
  missing_barrier,
  lost_position,
  thread_count,
  unused_is_read,
  block_edges,
  prefill_unlike_decode,
  unrecorded_program,
  not_repeatable
};

struct RunCauseInfo {
  RunCause cause;
  std::string_view name;
  Text what;                // one line for `greta hypotheses`
  std::string_view source;  // a real bug of this kind; may be empty
};

/// All of them, in the order of RunCause.
std::span<const RunCauseInfo> run_causes();

std::string_view name(RunCause cause);

/// In one line.
const Text& what(RunCause cause);

}  // namespace greta

#pragma once
// Whether an aligned decode0 on its prefill's cache shows that it writes its row at all: prefill has written
// the same position before, and what it left there looks like what decode0 ought to write.

#include <vector>

#include "judge/oracle_pass.h"
#include "verdict/verdict.h"

namespace greta {

/// The cells of an aligned bundle whose decode0 holds, in some layers, a key or a value of its own position
/// that is prefill's bit for bit, though the manifest does not say that the row was cleared. A layer where
/// decode0's own key or value rounds to something else is none of them: there `oracle` has convicted
/// the row, or it is not prefill's.
std::vector<UntestedWrite> untested_writes(const std::vector<const PhaseRecord*>& phases,
                                           const OraclePass& oracle);

}  // namespace greta

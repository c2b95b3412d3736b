#pragma once
// Tokens of a run's own, held against themselves: at once, in blocks, one by one, in a used cache, with
// another number of threads; some of it recorded and judged. Internal to this room.

#include <functional>
#include <string>
#include <vector>

#include "experiment/exercise.h"
#include "experiment/program.h"
#include "verdict/verdict.h"

namespace greta {

struct OwnTokensRequest {
  uint64_t seed = 0;
  nlohmann::json manifest = {};                          // of the matrix
  std::vector<int32_t> prompt = {};                      // the tokens begin with it
  Snapshot recorded = {};                                // what it left where it was recorded
  std::function<void(Runner& runner)> at_its_last = {};  // called before its last token, once; or none
  std::function<void(const std::string& label)> step = {};
};

struct OwnTokensResult {
  std::vector<Finding> differences = {};
  Reach reach = {};
  std::set<std::string> judged_kernels = {};
  int64_t tokens = 0, judged = 0;
  std::vector<int64_t> blocks = {}, steps = {};
};

/// So many, where the context has them.
inline constexpr int64_t kOwnTokens = 258;  // a block of 256, and steps on both sides of its edge

OwnTokensResult check_own_tokens(const Program& program, const OwnTokensRequest& request);

}  // namespace greta

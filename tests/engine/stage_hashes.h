#pragma once
// What a run computed, as the hash of every stage's last row:
// two runs are equal bit for bit if their maps are equal.

#include <map>
#include <string>

#include "base/hash.h"
#include "engine/plan_edit.h"
#include "engine/session.h"

namespace greta::test {

using StageHashes = std::map<std::string, std::string>;  // "L0.q" -> hash

/// A record op of the tests' own: engine tests don't reach up to record/.
class HashAction final : public Action {
 public:
  HashAction(StageHashes& hashes, At at) : hashes_(hashes), at_(at) {}
  std::string label() const override { return "hash"; }
  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return;
    std::vector<float> values;
    if (at_.stage == Stage::kv_write) {
      values = read_cache(args.cache, args.position + args.block_rows);
    } else {
      const int64_t rows = at_.stage == Stage::qk || at_.stage == Stage::softmax ? args.params.n_head : 1;
      for (int64_t r = args.in[0].rows - rows; r < args.in[0].rows; ++r) {
        values.insert(values.end(), args.in[0].row(r), args.in[0].row(r) + args.in[0].cols);
      }
    }
    hashes_["L" + std::to_string(at_.layer) + "." + std::string(name(at_.stage))] = hash_floats(values).hex();
  }

 private:
  StageHashes& hashes_;
  At at_;
};

/// Hashes every stage of the plan into `hashes` when it runs.
inline void hash_stages(Plan& plan, StageHashes& hashes) {
  PlanEdit edit(plan);
  edit.unfuse_all();
  for (const Op& op : edit.ops()) {
    if (op.makes) edit.watch(op, std::make_shared<HashAction>(hashes, *op.made()));
  }
}

}  // namespace greta::test

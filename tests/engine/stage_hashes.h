#pragma once
// What a run computed, as the hash of every stage's last row:
// two runs are equal bit for bit if their maps are equal.

#include <map>
#include <string>

#include "base/hash.h"
#include "engine/session.h"
#include "engine/transform.h"

namespace greta::test {

using StageHashes = std::map<std::string, std::string>;  // "L0.q" -> hash

/// A record op of the tests' own: engine tests don't reach up to trace/.
class HashAction final : public Action {
 public:
  HashAction(StageHashes& hashes, Stage stage, int layer) : hashes_(hashes), stage_(stage), layer_(layer) {}
  std::string label() const override { return "hash"; }
  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return;
    std::vector<float> values;
    if (stage_ == Stage::kv_write) {
      values = read_cache(args.cache, args.position + args.block_rows);
    } else {
      const int64_t rows = stage_ == Stage::qk || stage_ == Stage::softmax ? args.params.n_head : 1;
      for (int64_t r = args.in[0].rows - rows; r < args.in[0].rows; ++r) {
        values.insert(values.end(), args.in[0].row(r), args.in[0].row(r) + args.in[0].cols);
      }
    }
    hashes_["L" + std::to_string(layer_) + "." + std::string(name(stage_))] = hash_floats(values).hex();
  }

 private:
  StageHashes& hashes_;
  Stage stage_;
  int layer_;
};

/// Hashes every stage of the plan into `hashes` when it runs.
inline void hash_stages(Plan& plan, Isa isa, StageHashes& hashes) {
  unfuse_attention(plan, isa, [](int) { return true; });
  for (size_t i = 0; i < plan.ops.size(); ++i) {
    const Op op = plan.ops[i];
    if (!op.stage || op.launch_of != op.id) continue;
    Op hash;
    hash.layer = op.layer;
    hash.action = std::make_shared<HashAction>(hashes, *op.stage, op.layer);
    hash.in = {op.out, kNoBuffer};
    hash.uses_cache = op.uses_cache;
    hash.params = op.params;
    hash.launch_of = op.id;
    insert_after(plan, i, hash);
  }
}

}  // namespace greta::test

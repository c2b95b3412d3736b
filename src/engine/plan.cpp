#include "engine/plan.h"

#include <set>

namespace greta {
namespace {

constexpr BufferId kCache = -2;  // the KV cache, as one more thing that ops touch

/// What has been read and written since the threads last met.
class Hazards {
 public:
  bool conflict(const Op& op) const {
    for (const BufferId id : reads(op)) {
      if (written_.contains(id)) return true;
    }
    for (const BufferId id : writes(op)) {
      if (written_.contains(id) || read_.contains(id)) return true;
    }
    return false;
  }

  void note(const Op& op) {
    for (const BufferId id : reads(op)) read_.insert(id);
    for (const BufferId id : writes(op)) written_.insert(id);
  }

  void clear() {
    read_.clear();
    written_.clear();
  }

 private:
  static std::vector<BufferId> reads(const Op& op) {
    std::vector<BufferId> ids;
    for (const BufferId id : op.in) {
      if (id != kNoBuffer) ids.push_back(id);
    }
    if (op.extra != kNoBuffer) ids.push_back(op.extra);
    if (op.uses_cache && op.kind != OpKind::kv_write) ids.push_back(kCache);
    return ids;
  }
  static std::vector<BufferId> writes(const Op& op) {
    if (op.out != kNoBuffer) return {op.out};
    return op.kind == OpKind::kv_write ? std::vector<BufferId>{kCache} : std::vector<BufferId>{};
  }

  std::set<BufferId> read_, written_;
};

}  // namespace

int Plan::find(Stage stage, int layer) const {
  for (size_t i = 0; i < ops.size(); ++i) {
    if (ops[i].stage == stage && ops[i].layer == layer && ops[i].launch_of == ops[i].id)
      return static_cast<int>(i);
  }
  return -1;
}

void set_barriers(Plan& plan) {
  Hazards hazards;
  for (Op& op : plan.ops) {
    // An action may touch what it does not declare (a record reads the producer's launch): always meet.
    op.sync = op.action != nullptr || hazards.conflict(op);
    if (op.sync) hazards.clear();
    hazards.note(op);
  }
  if (!plan.ops.empty()) plan.ops.front().sync = false;
}

}  // namespace greta

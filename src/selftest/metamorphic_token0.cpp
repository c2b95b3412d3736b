#include "selftest/metamorphic_token0.h"

#include "base/error.h"
#include "engine/kv_cache.h"
#include "engine/plan_edit.h"

namespace greta {
namespace {

/// A record of the first element of row 0 that is not what it must be.
class Token0Action : public Action {
 public:
  Token0Action(int layer, std::string what, std::optional<Deviation>& first)
      : layer_(layer), what_(std::move(what)), first_(first) {}

  std::string label() const override { return "check token 0"; }

  void run(const KernelArgs& args, Part part) override {
    if (part.index == 0 && !first_) look(args);
  }

 protected:
  virtual void look(const KernelArgs& args) = 0;

  /// Equal as numbers: a sum that begins with +0 turns -0 into +0.
  void expect(float expected, float observed, int64_t element) {
    if (first_ || expected == observed) return;
    first_ = Deviation{};
    first_->layer = layer_;
    first_->what = what_;
    first_->element = element;
    first_->expected = expected;
    first_->observed = observed;
  }

 private:
  int layer_;
  std::string what_;
  std::optional<Deviation>& first_;
};

/// in0: softmax [S * n_head, n_pos]. Element h * n_pos + p of row 0: head h's weight of position p.
class SoftmaxOfToken0 final : public Token0Action {
 public:
  using Token0Action::Token0Action;

 private:
  void look(const KernelArgs& args) override {
    const View& weights = args.in[0];
    for (int64_t h = 0; h < args.params.n_head; ++h) {
      for (int64_t p = 0; p < weights.cols; ++p)
        expect(p == 0 ? 1.0f : 0.0f, weights.row(h)[p], h * weights.cols + p);
    }
  }
};

/// in0: pv [S, n_head * head_dim]; in1: values [S, n_head_kv * head_dim, or less and zeros then], before the
/// cache rounds them.
class AttentionOfToken0 final : public Token0Action {
 public:
  using Token0Action::Token0Action;

 private:
  void look(const KernelArgs& args) override {
    const int64_t head_dim = args.params.head_dim, group = args.params.n_head / args.cache.n_head_kv;
    const int64_t width = args.in[1].cols / args.cache.n_head_kv;
    std::vector<float> stored;
    for (int64_t head = 0; head < args.cache.n_head_kv; ++head) {
      const float* v = args.in[1].row(0) + head * width;
      stored.insert(stored.end(), v, v + width);
      stored.resize(static_cast<size_t>((head + 1) * head_dim), 0.0f);
    }
    round_to_cache(stored, args.cache.format);
    for (int64_t h = 0; h < args.params.n_head; ++h) {
      for (int64_t d = 0; d < head_dim; ++d) {
        expect(stored[static_cast<size_t>(h / group * head_dim + d)], args.in[0].row(0)[h * head_dim + d],
               h * head_dim + d);
      }
    }
  }
};

}  // namespace

std::vector<CheckCase> check_token0(const Engine& engine, ThreadPool& pool, Plan plan,
                                    std::span<const int32_t> tokens) {
  CheckCase softmax{fmt::format("{} softmax", name(plan.phase))};
  CheckCase pv{fmt::format("{} pv", name(plan.phase))};
  bool softmax_seen = false;
  PlanEdit edit(plan);
  edit.unfuse_all();
  for (int layer = 0; layer < engine.model().config.n_layer; ++layer) {
    if (const Op* op = edit.find({layer, Stage::softmax})) {
      softmax_seen = true;
      edit.watch(*op, std::make_shared<SoftmaxOfToken0>(layer, "softmax", softmax.deviation));
    }
    const At value = operands_at(engine.model().config, {layer, Stage::kv_write}).back();
    const Op *v = edit.find(value), *op = edit.find({layer, Stage::pv});
    if (v == nullptr || op == nullptr) fail_machine("the plan has no v or pv of layer {}", layer);
    edit.watch(*op, std::make_shared<AttentionOfToken0>(layer, "pv", pv.deviation))
        .reads.push_back(v->writes);
  }
  edit.commit();
  Runner(engine, pool, std::ssize(tokens)).forward(plan, tokens);
  for (CheckCase* one : {&softmax, &pv}) {
    if (!one->deviation) continue;
    one->deviation->phase = name(plan.phase);
    one->deviation->length = std::ssize(tokens);
  }
  return softmax_seen ? std::vector{softmax, pv} : std::vector{pv};
}

}  // namespace greta

// softmax and pv.

#include "fault/attention.h"

#include <algorithm>
#include <cmath>

#include "engine/kv_cache.h"
#include "fault/bank.h"

namespace greta {
namespace {

struct Softmax {
  double (*power)(double x) = nullptr;  // of score - max
  double in_sum = 0;                    // added to the denominator
  bool normalised = true;
};

double natural(double x) { return std::exp(x); }
double binary(double x) { return std::exp2(x); }
/// Three digits: a mantissa of 10 bits, cut off.
double coarse(double x) {
  int exponent;
  const double mantissa = std::frexp(std::exp(x), &exponent);
  return std::ldexp(std::floor(mantissa * 1024) / 1024, exponent);
}

/// `sink`: the head's, -inf for none.
void softmax_row(const Softmax& kind, double sink, const float* in, float* out, int64_t n) {
  double max = -INFINITY;
  for (int64_t i = 0; i < n; ++i) max = std::max(max, static_cast<double>(in[i]));
  double sum = kind.in_sum + kind.power(sink - max);
  for (int64_t i = 0; i < n; ++i) sum += kind.power(static_cast<double>(in[i]) - max);
  for (int64_t i = 0; i < n; ++i) {
    const double e = kind.power(static_cast<double>(in[i]) - max);
    out[i] = static_cast<float>(kind.normalised ? e / sum : e);
  }
}

MakeWrong normalised_by(Softmax kind) {
  return [kind](TwinSite&) -> Wrong {
    return [kind](const WrongCall& call) {
      const KernelArgs& args = call.args;
      for (int64_t r = 0; r < args.out.rows; ++r) {
        const double sink =
            args.bias == nullptr ? -INFINITY : static_cast<double>(args.bias[r % args.params.n_head]);
        softmax_row(kind, sink, args.in[0].row(r), args.out.row(r), args.out.cols);
      }
    };
  };
}

/// One head of one row, over all positions of the cache: what softmax weighs with 0 adds nothing.
void mix_head(const AttentionReads& reads, const KernelArgs& args, const KvView& cache, int64_t row,
              int64_t head) {
  const int64_t heads = args.params.n_head, n_pos = args.in[0].cols;
  const int64_t kv_head = reads.kv_head(head, heads, cache.n_head_kv);
  const float* weights = args.in[0].row(row * heads + head);
  for (int64_t d = 0; d < cache.head_dim; ++d) {
    double sum = 0;
    for (int64_t p = 0; p < n_pos; ++p) {
      const float value = cached_value(cache, reads.slot(p, n_pos), kv_head, d);
      sum += static_cast<double>(weights[p]) * static_cast<double>(value);
    }
    args.out.row(row)[head * cache.head_dim + d] = static_cast<float>(sum);
  }
}

void mix(const AttentionReads& reads, const KernelArgs& args, const KvView& cache) {
  for (int64_t r = 0; r < args.out.rows; ++r) {
    for (int64_t head = 0; head < args.params.n_head; ++head) mix_head(reads, args, cache, r, head);
  }
}

MakeWrong mixed(AttentionReads reads) {
  return [reads](TwinSite&) -> Wrong {
    return [reads](const WrongCall& call) { mix(reads, call.args, call.args.cache); };
  };
}

Wrong mix_other_layer(TwinSite& site) {
  const std::shared_ptr<KvView> other = watch_cache_of_layer_before(site);
  if (!other) return {};
  return [other](const WrongCall& call) { mix({}, call.args, *other); };
}

/// Rows of head outputs moved: element d of head h comes from `from(h, d)` of the right row.
template <class From>
Wrong move_elements(From from) {
  return [from](const WrongCall& call) {
    const int64_t heads = call.args.params.n_head, head_dim = call.args.params.head_dim;
    const Rows right = as_f32(call.args.out, call.args.out.cols);
    set_each(call.args.out,
             [&](int64_t r, int64_t i) { return right.view.row(r)[from(i, heads, head_dim)]; });
  };
}

/// Written [head_dim][n_head].
Wrong dims_first(TwinSite&) {
  return move_elements(
      [](int64_t i, int64_t heads, int64_t head_dim) { return i % heads * head_dim + i / heads; });
}

/// The first and the last head have each other's place.
Wrong swap_outer_heads(TwinSite&) {
  return move_elements([](int64_t i, int64_t heads, int64_t head_dim) {
    const int64_t head = i / head_dim, d = i % head_dim;
    return (head == 0 ? heads - 1 : head == heads - 1 ? 0 : head) * head_dim + d;
  });
}

/// Leaves a view of the cache that its op sees.
class Watch final : public Action {
 public:
  explicit Watch(std::shared_ptr<KvView> view) : view_(std::move(view)) {}
  std::string label() const override { return "fault: watches this layer's cache"; }
  void run(const KernelArgs& args, Part part) override {
    if (part.index == 0) *view_ = args.cache;
  }

 private:
  std::shared_ptr<KvView> view_;
};

}  // namespace

Wrong mix_future(TwinSite&) {
  return [](const WrongCall& call) {
    const KernelArgs& args = call.args;
    for (int64_t r = 0; r < args.out.rows; ++r) {
      for (int64_t head = 0; head < args.params.n_head; ++head) {
        const float* weights = args.in[0].row(r * args.params.n_head + head);
        const bool sees_future = std::any_of(weights + args.position + r + 1, weights + args.in[0].cols,
                                             [](float w) { return w != 0; });
        if (sees_future) mix_head({}, args, args.cache, r, head);
      }
    }
  };
}

Wrong mix_all_weights(TwinSite&) {
  return [](const WrongCall& call) {
    const KernelArgs& args = call.args;
    for (int64_t r = 0; r < args.out.rows; ++r) {
      for (int64_t head = 0; head < args.params.n_head; ++head) mix_head({}, args, args.cache, r, head);
    }
  };
}

std::shared_ptr<KvView> watch_cache_of_layer_before(TwinSite& site) {
  if (site.op.layer == 0) return nullptr;
  auto view = std::make_shared<KvView>();
  site.edit.before(site.op, {.layer = site.op.layer - 1,
                             .call = ActionCall{std::make_shared<Watch>(view)},
                             .cache = CacheUse::reads});
  return view;
}

FaultList attention_faults() {
  const std::string heads = kGitHub + "PSAL-POSTECH/ONNXim/issues/33",
                    slot = kGitHub + "ROCm/ATOM/issues/702";
  const std::string slice = kFounding + " (B3.25)", tile = kGitHub + "ekzhang/jax-js/pull/180";
  const auto fault = [](const char* name, const char* kind, Stage stage, const char* what,
                        const std::string& source, const char* hypothesis, MakeWrong make) {
    return Fault{name, kind, stage, what, source, hypothesis, std::move(make)};
  };
  return {
      fault("softmax_base2", "softmax_base2", Stage::softmax, "2^x instead of e^x", kMadeUp, "softmax_base2",
            normalised_by({.power = binary})),
      fault("softmax_sink", "softmax_sink", Stage::softmax, "1 is added to the denominator", kMadeUp,
            "softmax_sink", normalised_by({.power = natural, .in_sum = 1})),
      fault("softmax_not_normalised", "softmax_not_normalised", Stage::softmax, "not divided by the sum",
            kMadeUp, "softmax_not_normalised", normalised_by({.power = natural, .normalised = false})),
      fault("softmax_coarse", "coarse_exp", Stage::softmax, "exp good to three digits", kMadeUp, "",
            normalised_by({.power = coarse})),
      fault("pv_head_mod", "head_map", Stage::pv, "query head h reads kv head h mod n_kv", heads, "head_map",
            mixed({.kv_head = head_by_modulo})),
      fault("pv_slot_next", "attention_slot", Stage::pv, "the value of position p + 1 (the last: its own)",
            slot, "attention_slot", mixed({.slot = next_slot})),
      fault("pv_slot_previous", "attention_slot", Stage::pv,
            "the value of position p - 1 (the first: its own)", slot, "attention_slot",
            mixed({.slot = previous_slot})),
      fault("pv_wrong_layer", "wrong_layer_cache", Stage::pv,
            "reads the layer before's values (not in layer 0)", slice, "wrong_layer_cache", mix_other_layer),
      fault("pv_head_order", "head_order", Stage::pv, "written [head_dim][n_head]", tile, "head_order",
            dims_first),
      fault("pv_heads_swapped", "heads_swapped", Stage::pv, "the first and the last head are exchanged", tile,
            "output_moved", swap_outer_heads),
  };
}

}  // namespace greta

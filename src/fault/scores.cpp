// qk with wrong heads, slots, masks or scales.

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "engine/kv_cache.h"
#include "fault/attention.h"
#include "fault/bank.h"

namespace greta {
namespace {

/// The query and the block that it is in.
struct Query {
  int64_t own;    // its position
  int64_t first;  // the block's first position
  int64_t n_pos;  // positions in the cache with the block
  int64_t window;
};

bool causal(const Query& q, int64_t p) { return p <= q.own && (q.window == 0 || p > q.own - q.window); }
// Position 0 always sees itself: a row without any would be NaN, which is another fault.
bool own_hidden(const Query& q, int64_t p) { return (causal(q, p) && p < q.own) || (p == 0 && q.own == 0); }
bool next_visible(const Query& q, int64_t p) { return causal(q, p) || p == q.own + 1; }
bool all_visible(const Query&, int64_t) { return true; }
bool last_hidden(const Query& q, int64_t p) { return causal(q, p) && (p < q.n_pos - 1 || p == 0); }
bool whole_pages(const Query& q, int64_t p) {
  return causal(q, p) && (q.n_pos < 16 || p < q.n_pos / 16 * 16);
}
bool block_only(const Query& q, int64_t p) { return causal(q, p) && p >= q.first; }
bool window_of_8(const Query& q, int64_t p) { return causal(q, p) && p > q.own - 8; }

using Visible = bool (*)(const Query& query, int64_t position);
using ChangeScore = double (*)(double score, const Query& query, int64_t position, int64_t head);

double as_is(double score, const Query&, int64_t, int64_t) { return score; }
double capped(double score, const Query&, int64_t, int64_t) { return 2 * std::tanh(score / 2); }
double alibi(double score, const Query& q, int64_t p, int64_t head) {
  return score - static_cast<double>(q.own - p) * std::exp2(-static_cast<double>(head + 1));
}

struct Scores {
  AttentionReads reads = {};
  Visible visible = causal;
  double scale = 0;  // 0: the op's own
  ChangeScore change = as_is;
  bool anew = false;  // the right scores are of no use: another key or scale
};

double product(const Scores& scores, const KernelArgs& args, const KvView& cache, int64_t row, int64_t p) {
  const int64_t heads = args.params.n_head, head = row % heads;
  const int64_t kv_head = scores.reads.kv_head(head, heads, cache.n_head_kv);
  const int64_t slot = scores.reads.slot(p, args.out.cols);
  const float* q = args.in[0].row(row / heads) + head * cache.head_dim;
  double sum = 0;
  for (int64_t d = 0; d < cache.head_dim; ++d) {
    sum += static_cast<double>(q[d]) * static_cast<double>(cached_key(cache, slot, kv_head, d));
  }
  const double cap = static_cast<double>(args.params.cap);
  const double scaled = sum * (scores.scale == 0 ? static_cast<double>(args.params.scale) : scores.scale);
  return cap == 0 ? scaled : cap * std::tanh(scaled / cap);
}

void score(const Scores& scores, const KernelArgs& args, const KvView& cache) {
  const int64_t heads = args.params.n_head;
  for (int64_t row = 0; row < args.out.rows; ++row) {
    const Query query{args.position + row / heads, args.position, args.out.cols, args.params.window};
    for (int64_t p = 0; p < query.n_pos; ++p) {
      float& out = args.out.row(row)[p];
      if (!scores.visible(query, p)) {
        out = -INFINITY;
        continue;
      }
      // A right score keeps its bits where only others are wrong.
      const bool known = !scores.anew && causal(query, p);
      const double right = known ? static_cast<double>(out) : product(scores, args, cache, row, p);
      out = static_cast<float>(scores.change(right, query, p, row % heads));
    }
  }
}

MakeWrong scored(Scores scores) {
  return [scores](TwinSite&) -> Wrong {
    return [scores](const WrongCall& call) { score(scores, call.args, call.args.cache); };
  };
}

Wrong score_other_layer(TwinSite& site) {
  const std::shared_ptr<KvView> other = watch_cache_of_layer_before(site);
  if (!other) return {};
  return [other](const WrongCall& call) { score({.anew = true}, call.args, *other); };
}

/// The model's scale times 1 + size.
Wrong change_scale(TwinSite& site) {
  return scored({.scale = static_cast<double>(site.call().params.scale) * (1 + site.size), .anew = true})(
      site);
}

/// Of one kv head h mod n is the right one.
Wrong head_modulo(TwinSite& site) {
  if (site.config().n_head_kv == 1) return {};
  return scored({.reads = {.kv_head = head_by_modulo}, .anew = true})(site);
}

Wrong scale_squared(TwinSite& site) {
  return scored({.scale = 1 / static_cast<double>(site.config().head_dim), .anew = true})(site);
}

}  // namespace

FaultList score_faults() {
  const std::string heads = kGitHub + "PSAL-POSTECH/ONNXim/issues/33",
                    slot = kGitHub + "ROCm/ATOM/issues/702";
  const std::string slice = kFounding + " (B3.25)", page = kGitHub + "pegainfer-project/pegainfer/issues/291";
  const std::string absent = kGitHub + "Mikyx-1/TinyLLM/pull/18",
                    tril = kGitHub + "hyprstream/hyprstream/pull/1521";
  const std::string scale = kGitHub + "mlc-ai/mlc-llm/pull/3426",
                    cap = kGitHub + "vllm-project/vllm-metal/pull/666";
  const std::string window = kGitHub + "vllm-project/vllm/issues/3385";
  const auto qk = [](const char* name, const char* kind, const char* what, const std::string& source,
                     const char* hypothesis, MakeWrong make, double size = 0) {
    return Fault{name, kind, Stage::qk, what, source, hypothesis, std::move(make), size};
  };
  // What a mask lets through must also be mixed: GRETA's own pv leaves the future out.
  const auto both = [](Fault fault) {
    fault.also_stage = Stage::pv;
    fault.also = mix_future;
    return needing(Needs::several_rows, std::move(fault));
  };
  return {
      qk("qk_head_mod", "head_map", "query head h reads kv head h mod n_kv", heads, "head_map", head_modulo),
      qk("qk_slot_next", "attention_slot", "the key of position p + 1 (the last: its own)", slot,
         "attention_slot", scored({.reads = {.slot = next_slot}, .anew = true})),
      qk("qk_slot_previous", "attention_slot", "the key of position p - 1 (the first: its own)", slot,
         "attention_slot", scored({.reads = {.slot = previous_slot}, .anew = true})),
      qk("qk_wrong_layer", "wrong_layer_cache", "reads the layer before's keys (not in layer 0)", slice,
         "wrong_layer_cache", score_other_layer),
      qk("kv_length_short", "kv_length", "the last position of the cache is left out", page, "kv_length",
         scored({.visible = last_hidden})),
      qk("kv_length_pages", "kv_length", "positions after the last whole page of 16 are left out", page,
         "kv_length", scored({.visible = whole_pages})),
      both(qk("mask_absent", "mask_absent", "later positions of the block are visible (S > 1)", absent,
              "mask_absent", scored({.visible = all_visible}))),
      qk("mask_own_hidden", "mask_offset", "a row does not see its own position", tril, "mask_offset",
         scored({.visible = own_hidden})),
      both(qk("mask_next_visible", "mask_offset", "a row sees the next position (S > 1)", tril, "mask_offset",
              scored({.visible = next_visible}))),
      needing(Needs::history,
              qk("history_hidden", "history_hidden", "only positions of the same block are visible", tril,
                 "history_hidden", scored({.visible = block_only}))),
      qk("window_8", "window", "positions more than 7 back are hidden", window, "window",
         scored({.visible = window_of_8})),
      qk("softmax_scale", "softmax_scale", "another scale (1.5 times 1 / sqrt(d); by=0.5)", scale,
         "softmax_scale", change_scale, 0.5),
      qk("softmax_scale_omitted", "softmax_scale", "scale 1 instead of 1 / sqrt(d)", scale, "softmax_scale",
         scored({.scale = 1, .anew = true})),
      qk("softmax_scale_squared", "softmax_scale", "scale 1 / d instead of 1 / sqrt(d)", scale,
         "softmax_scale", scale_squared),
      qk("softcap", "softcap", "scores are capped by 2 tanh(s / 2)", cap, "softcap",
         scored({.change = capped})),
      qk("qk_alibi", "position_bias", "a slope per head is added for the distance (ALiBi)", kMadeUp, "",
         scored({.change = alibi})),
  };
}

}  // namespace greta

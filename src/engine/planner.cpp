#include "engine/planner.h"

#include <algorithm>
#include <array>
#include <map>

#include "base/error.h"
#include "engine/kernel_table.h"
#include "engine/plan_edit.h"

namespace greta {
namespace {

class Planner {
 public:
  Planner(const Model& model, const Weights& weights, const PlanRequest& request)
      : model_(model), config_(model.config), weights_(weights), request_(request), edit_(plan_) {
    plan_.phase = request.phase;
    plan_.max_rows = request.max_rows;
    make_buffers();
  }

  Plan build() {
    demand_kernels_of_all();
    demand_expert_kernels();
    embed();
    for (int layer = 0; layer < config_.n_layer; ++layer) add_layer(layer);
    if (request_.logits) add_head();
    edit_.commit();
    return std::move(plan_);
  }

 private:
  void demand_expert_kernels() const {
    std::string why;
    const std::string_view device = is_simulated(request_.device) ? "cpu" : std::string_view(request_.device);
    const KernelQuery query{.op = OpKind::choose_experts, .isa = request_.isa, .device = device};
    if (config_.n_expert == 0 || find_kernel(query, &why) != nullptr) return;
    fail_input(
        "{} is a mixture of experts, for which {} has no kernels yet; run it on the CPU (--device cpu)",
        model_.file.path(), request_.device);
  }

  /// What the kernels of GPUs leave out.
  void demand_kernels_of_all() const {
    if (request_.device == "cpu" || is_simulated(request_.device)) return;
    const auto needs = [&](bool some, std::string_view what) {
      if (!some) return;
      fail_input("{} has {}, for which {} has no kernels yet; run it on the CPU (--device cpu)",
                 model_.file.path(), what, request_.device);
    };
    needs(config_.score_cap != 0 || config_.logit_cap != 0, "soft caps");
    const auto stretched = [](const LayerConfig& layer) { return layer.rope_magnitude != 1; };
    needs(config_.is_latent(), "latent attention (MLA)");
    needs(std::ranges::any_of(config_.layers, stretched), "a RoPE with a magnitude (YaRN)");
    needs(weight_of(model_, {Stage::softmax, 0}) != nullptr, "attention sinks");
  }

  void make_buffers() {
    const int64_t kv = config_.n_head_kv, heads = config_.n_head;
    plan_.tokens = tokens_ = buffer("tokens", 1, RowsOf::block, Format::i32);
    x_ = buffer("x", config_.n_embd);
    attn_norm_ = buffer("attn_norm", config_.n_embd);
    q_ = buffer("q", heads * config_.query_dim());
    k_ = buffer("k", kv * config_.key_dim());
    v_ = buffer("v", kv * config_.value_dim());
    q_norm_ = buffer("q_norm", heads * config_.query_dim());
    k_norm_ = buffer("k_norm", kv * config_.key_dim());
    q_rope_ = buffer("q_rope", heads * config_.query_dim());
    k_rope_ = buffer("k_rope", kv * config_.key_dim());
    if (config_.is_latent()) make_latent_buffers();
    scores_ = buffer("qk", config_.n_head, RowsOf::scores);
    softmax_ = buffer("softmax", config_.n_head, RowsOf::scores);
    pv_ = buffer("pv", heads * config_.head_dim);
    attn_out_ = buffer("attn_out", config_.n_embd);
    attn_post_norm_ = buffer("attn_post_norm", config_.n_embd);
    x_attn_ = buffer("x_attn", config_.n_embd);
    ffn_norm_ = buffer("ffn_norm", config_.n_embd);
    dense_ = ffn_buffers("", config_.n_dense_layers > 0 ? config_.n_ff_dense : config_.n_ff);
    const bool both = config_.n_dense_layers > 0 && config_.n_dense_layers < config_.n_layer;
    shared_ = both ? ffn_buffers("shared_", config_.n_ff) : dense_;
    down_ = buffer("down", config_.n_embd);
    if (config_.n_expert > 0) make_expert_buffers();
    ffn_post_norm_ = buffer("ffn_post_norm", config_.n_embd);
    final_norm_ = buffer("final_norm", config_.n_embd, RowsOf::last);
    logits_ = buffer("logits", config_.n_vocab, RowsOf::last);
  }

  struct FfnBuffers {
    BufferId gate, up, act;
  };
  FfnBuffers ffn_buffers(const std::string& of, int64_t width) {
    const BufferId gate = buffer(of + "gate", width);
    return {gate, buffer(of + "up", width), buffer(of + "act", width)};
  }

  void make_latent_buffers() {
    const int64_t heads = config_.n_head;
    q_a_ = buffer("q_a", config_.latent.q_rank);
    q_a_norm_ = buffer("q_a_norm", config_.latent.q_rank);
    v_norm_ = buffer("v_norm", config_.value_dim());
    q_absorbed_ = buffer("q_absorbed", heads * config_.value_dim());
    q_latent_ = buffer("q_latent", heads * config_.head_dim);
    k_latent_ = buffer("k_latent", config_.head_dim);
    head_out_ = buffer("head_out", heads * config_.out_dim());
  }

  void make_expert_buffers() {
    const int64_t used = config_.n_expert_used;
    router_ = buffer("router", config_.n_expert);
    expert_probs_ = buffer("expert_probs", config_.n_expert);
    experts_ = buffer("experts", used);
    expert_weights_ = buffer("expert_weights", used);
    expert_gate_ = buffer("expert_gate", used * config_.n_ff_expert);
    expert_up_ = buffer("expert_up", used * config_.n_ff_expert);
    expert_act_ = buffer("expert_act", used * config_.n_ff_expert);
    expert_down_ = buffer("expert_down", used * config_.n_embd);
    experts_out_ = buffer("experts_out", config_.n_embd);
    shared_gate_ = buffer("shared_gate", 1);
    shared_out_ = buffer("shared_out", config_.n_embd);
    ffn_out_ = buffer("ffn_out", config_.n_embd);
  }

  void add_layer(int layer) {
    layer_ = layer;
    const BufferId in = norm(Stage::attn_norm, x_, attn_norm_);
    if (has(Stage::q_a)) project(Stage::q_a, in, q_a_);
    project(Stage::q, has(Stage::q_a) ? norm(Stage::q_a_norm, q_a_, q_a_norm_) : in, q_);
    project(Stage::k, in, k_);
    project(Stage::v, in, v_);
    BufferId q = rope(Stage::q_rope, norm(Stage::q_norm, q_, q_norm_), q_rope_, config_.n_head);
    BufferId k = rope(Stage::k_rope, norm(Stage::k_norm, k_, k_norm_), k_rope_, config_.n_head_kv);
    const BufferId v = norm(Stage::v_norm, v_, v_norm_);
    if (has(Stage::q_absorbed)) {
      project(Stage::q_absorbed, q, q_absorbed_);
      q = join(Stage::q_latent, q, q_absorbed_, q_latent_, config_.n_head);
      k = join(Stage::k_latent, k, v, k_latent_, config_.n_head_kv);
    }
    kv_write(k, v);
    attention(q, pv_);
    if (has(Stage::head_out)) project(Stage::head_out, pv_, head_out_);
    project(Stage::attn_out, has(Stage::head_out) ? head_out_ : pv_, attn_out_);
    add_branch(Stage::x_attn, x_, norm(Stage::attn_post_norm, attn_out_, attn_post_norm_), x_attn_);
    const BufferId ffn_in = norm(Stage::ffn_norm, x_attn_, ffn_norm_);
    const BufferId ffn_out = ffn(ffn_in);
    add_branch(Stage::x_out, x_attn_, norm(Stage::ffn_post_norm, ffn_out, ffn_post_norm_), x_);
  }

  /// The buffer with what experts, the dense part or both made of `in`.
  BufferId ffn(BufferId in) {
    const BufferId chosen = has(Stage::experts_out) ? add_experts(in) : kNoBuffer;
    if (!has(Stage::down)) return chosen;
    const FfnBuffers& of = chosen == kNoBuffer ? dense_ : shared_;
    project(Stage::gate, in, of.gate);
    project(Stage::up, in, of.up);
    activate(Stage::act, of.gate, of.up, of.act);
    project(Stage::down, of.act, down_);
    BufferId own = down_;
    if (has(Stage::shared_gate)) {
      project(Stage::shared_gate, in, shared_gate_);
      add(kernel(OpKind::sigmoid_mul), Stage::shared_out, {down_, shared_gate_}, own = shared_out_);
    }
    if (chosen == kNoBuffer) return own;
    add_branch(Stage::ffn_out, own, chosen, ffn_out_);
    return ffn_out_;
  }

  BufferId add_experts(BufferId in) {
    project(Stage::router, in, router_);
    const ExpertChoice& how = config_.choice;
    if (how.by_sigmoid) add(kernel(OpKind::sigmoid), Stage::expert_probs, {router_}, expert_probs_);
    const BufferId scores = how.by_sigmoid ? expert_probs_ : router_;
    KernelCall& choose = add(kernel(OpKind::choose_experts), Stage::experts, {scores}, experts_);
    choose.params.groups = how.groups;
    choose.params.groups_used = how.groups_used;
    choose.params.group_best = how.group_best;
    if (const Tensor* bias = bias_of(model_, {Stage::experts, layer_})) choose.bias = weights_.vector(bias);
    KernelCall& weigh =
        add(kernel(OpKind::expert_weights), Stage::expert_weights, {scores, experts_}, expert_weights_);
    weigh.params.sum_to_1 = config_.experts_sum_to_1;
    weigh.params.are_probabilities = how.by_sigmoid;
    weigh.params.scale = static_cast<float>(how.scale);
    project(Stage::expert_gate, in, expert_gate_);
    project(Stage::expert_up, in, expert_up_);
    activate(Stage::expert_act, expert_gate_, expert_up_, expert_act_);
    project(Stage::expert_down, expert_act_, expert_down_);
    add(kernel(OpKind::combine_experts), Stage::experts_out, {expert_down_, expert_weights_}, experts_out_);
    return experts_out_;
  }

  bool has(Stage stage) const { return has_stage(config_, {layer_, stage}); }

  void activate(Stage stage, BufferId gate, BufferId up, BufferId out) {
    static constexpr std::array kOps{OpKind::silu_mul, OpKind::gelu_mul, OpKind::swiglu_oai_mul};
    add(kernel(kOps[static_cast<size_t>(config_.activation)]), stage, {gate, up}, out);
  }

  void add_head() {
    layer_ = kNoLayer;
    norm(Stage::final_norm, x_, final_norm_);
    KernelCall& head = project(Stage::logits, final_norm_, logits_);
    head.params.scale = static_cast<float>(1 / config_.logit_divisor);
    head.params.cap = static_cast<float>(config_.logit_cap);
    plan_.logits = logits_;
  }

  void embed() {
    layer_ = 0;
    KernelCall& call = add(kernel(OpKind::embed, model_.token_embd->type), Stage::x_in, {tokens_}, x_);
    call.params.scale = static_cast<float>(config_.embedding_scale);
    set_weight(call, model_.token_embd);
  }

  /// The buffer with the stage's output: `in` itself where the layer has no such stage.
  BufferId norm(Stage stage, BufferId in, BufferId out) {
    const Tensor* weight = weight_of(model_, {stage, layer_});
    if (weight == nullptr) return in;
    KernelCall& call = add(kernel(OpKind::rms_norm), stage, {in, constant(weight)}, out);
    call.params.eps = static_cast<float>(config_.norm_eps);
    return out;
  }

  /// The same of RoPE.
  BufferId rope(Stage stage, BufferId in, BufferId out, int64_t heads) {
    if (!has(stage)) return in;
    KernelCall& call = add(kernel(OpKind::rope), stage, {in, rope_table()}, out);
    set_rope(call.params);
    call.params.n_head = heads;
    call.params.head_dim = rope_width(stage, config_);
    call.params.rope_first = rope_first(stage, config_);
    return out;
  }

  /// Of each head all of `whole`, then the end of `rotated`.
  BufferId join(Stage stage, BufferId rotated, BufferId whole, BufferId out, int64_t heads) {
    KernelCall& call = add(kernel(OpKind::join_heads), stage, {rotated, whole}, out);
    call.params.n_head = heads;
    call.params.rope_dims = config_.rope_dims;
    return out;
  }

  /// The cosines and sines of the layer's RoPE, made where a layer is the first to need them.
  BufferId rope_table() {
    const LayerConfig& layer = config_.layer(layer_);
    BufferId& table = rope_tables_.try_emplace(layer.rope_key(), kNoBuffer).first->second;
    if (table != kNoBuffer) return table;
    const std::string name = rope_tables_.size() == 1 ? "rope_table" : fmt::format("rope_table.{}", layer_);
    table = buffer(name, config_.rope_dims);
    set_rope(add(kernel(OpKind::rope_table), std::nullopt, {}, table).params);
    return table;
  }

  void kv_write(BufferId k, BufferId v) {
    add(kernel(OpKind::kv_write), Stage::kv_write, {k, v}, kNoBuffer, CacheUse::writes);
  }

  void attention(BufferId q, BufferId out) {
    const OpParams params{.scale = static_cast<float>(config_.attention_scale),
                          .cap = static_cast<float>(config_.score_cap),
                          .n_head = config_.n_head,
                          .head_dim = config_.head_dim,
                          .window = config_.layer(layer_).window};
    const Tensor* sinks = weight_of(model_, {Stage::softmax, layer_});
    const auto part = [&](OpKind kind, Stage stage, BufferId in, BufferId to, CacheUse cache) {
      const bool sums = sinks != nullptr && (kind == OpKind::softmax || kind == OpKind::attention);
      return Op{.layer = layer_,
                .makes = stage,
                .call = KernelCall{.kernel = &kernel(kind),
                                   .bias = sums ? weights_.vector(sinks) : nullptr,
                                   .params = params},
                .reads = {in},
                .writes = to,
                .cache = cache};
    };
    Op whole = part(OpKind::attention, Stage::pv, q, out, CacheUse::reads);
    whole.call = FusedCall{std::get<KernelCall>(whole.call),
                           {part(OpKind::qk, Stage::qk, q, scores_, CacheUse::reads),
                            part(OpKind::softmax, Stage::softmax, scores_, softmax_, CacheUse::none),
                            part(OpKind::pv, Stage::pv, softmax_, out, CacheUse::reads)}};
    append(std::move(whole));
  }

  void add_branch(Stage stage, BufferId residual, BufferId branch, BufferId out) {
    KernelCall& call = add(kernel(OpKind::add), stage, {residual, branch}, out);
    call.params.scale = static_cast<float>(scale_of(stage, config_));
  }

  KernelCall& project(Stage stage, BufferId in, BufferId out) {
    const Tensor* weight = weight_of(model_, {stage, layer_});
    const KernelInfo& chosen = choose_projection(stage, weight->type);
    BufferId activation = in;
    // A simulated unit rounds what it reads itself; a vector route does not round at all.
    const bool rounds = is_simulated(chosen.device) || chosen.roundings.activation == Format::f32;
    if (!rounds) activation = quantized(in, chosen.roundings.activation);
    std::vector<BufferId> reads = {activation};
    if (reads_experts(stage)) reads.push_back(experts_);
    KernelCall& call = add(chosen, stage, std::move(reads), out);
    set_weight(call, weight);
    call.params.experts = reads_experts(stage) ? config_.n_expert : is_of_heads(stage) ? config_.n_head : 0;
    if (is_of_heads(stage)) check_slices(stage, chosen, in);
    if (const Tensor* bias = bias_of(model_, {stage, layer_})) call.bias = weights_.vector(bias);
    return call;
  }

  /// Blocks of activations must not lie in two heads.
  void check_slices(Stage stage, const KernelInfo& kernel, BufferId in) const {
    const int64_t width = plan_.buffer(in).cols / config_.n_head;
    if (kernel.roundings.activation != Format::q8_block32 || width % kBlock == 0) return;
    fail_input("{} has heads of {} values, which are no whole blocks of {}: run it with --route {}=vector",
               name(stage), width, kBlock, name(stage));
  }

  static bool is_of_heads(Stage stage) { return info(stage).kind == StageKind::head_projection; }
  static bool reads_experts(Stage stage) { return info(stage).kind == StageKind::expert_projection; }

  /// The kernel for a projection:
  /// what is forced, or by default the matrix route where it exists, GEMV for S = 1.
  const KernelInfo& choose_projection(Stage stage, TensorType type) const {
    const RouteChoice forced = request_.routes.choice(stage, request_.phase);
    const bool simulated = is_simulated(request_.device);
    // Logits are of the last row only. (Simulated kernels would give GEMV other bits than GEMM.)
    const bool single = request_.max_rows == 1 || (stage == Stage::logits && !simulated);
    Shape shape = forced.shape.value_or(single ? Shape::gemv : Shape::gemm);
    if (simulated && request_.invariant) shape = Shape::gemm;
    // Real engines leave their matrix units idle for one row.
    const bool one_row = simulated && !request_.invariant && shape == Shape::gemv;
    if (shape == Shape::gemv && !single) {
      fail_input("cannot force gemv on {} in {}: a GEMV takes one row, this block has up to {}", name(stage),
                 name(request_.phase), request_.max_rows);
    }
    KernelQuery query{
        .op = reads_experts(stage) || is_of_heads(stage) ? OpKind::expert_matmul : OpKind::matmul,
        .isa = request_.isa,
        .weight_type = type,
        .route = forced.route.value_or(one_row ? Route::vector : Route::matrix),
        .shape = shape,
        .device = request_.device,
        .input = request_.sim_input};
    std::string why;
    const KernelInfo* kernel = find_kernel(query, &why);
    if (kernel == nullptr && !forced.route) {
      query.route = Route::vector;
      kernel = find_kernel(query, &why);
    }
    if (kernel == nullptr) {
      fail_input("cannot run {} of {} (weight type {}) on the {} route in {}: {}", name(shape), name(stage),
                 name(type), name(*query.route), name(request_.phase), why);
    }
    return *kernel;
  }

  /// The quantised form of a buffer, made once and shared by its consumers (q, k and v read the same one).
  BufferId quantized(BufferId in, Format format) {
    Quantized& entry = quantized_[{in, format}];
    if (entry.fresh) return entry.buffer;
    if (entry.buffer == kNoBuffer) {
      const Buffer source = plan_.buffer(in);
      const std::string suffix(format == Format::q8_block32 ? "q8" : name(format));
      entry.buffer = buffer(source.name + "." + suffix, source.cols, source.rows, format);
    }
    add(kernel(OpKind::quantize, {}, format), std::nullopt, {in}, entry.buffer);
    entry.fresh = true;
    return entry.buffer;
  }

  BufferId buffer(std::string name, int64_t cols, RowsOf rows = RowsOf::block, Format format = Format::f32) {
    return edit_.add_buffer({std::move(name), cols, format, rows, nullptr});
  }

  BufferId constant(const Tensor* tensor) {
    return edit_.add_buffer({.name = std::string(tensor->name),
                             .cols = static_cast<int64_t>(tensor->dims[0]),
                             .rows = RowsOf::constant,
                             .constant = weights_.vector(tensor)});
  }

  /// The kernel of an op that leaves no choice.
  const KernelInfo& kernel(OpKind op, std::optional<TensorType> type = {},
                           Format activation = Format::f32) const {
    const std::string_view device = request_.device;
    const KernelQuery query{.op = op,
                            .isa = request_.isa,
                            .weight_type = type,
                            .activation = activation,
                            .device = is_simulated(device) ? "cpu" : device};
    std::string why;
    const KernelInfo* kernel = find_kernel(query, &why);
    if (kernel != nullptr) return *kernel;
    // Of a device with kernels of its own, a file can ask too much.
    if (type) fail_input("cannot run {} of {} (weight type {}): {}", name(op), device, name(*type), why);
    fail_machine("no kernel for {}: {}", name(op), why);
  }

  KernelCall& add(const KernelInfo& kernel, std::optional<Stage> stage, std::vector<BufferId> in,
                  BufferId out, CacheUse cache = CacheUse::none) {
    Op& op = append({.layer = layer_,
                     .makes = stage,
                     .call = KernelCall{.kernel = &kernel},
                     .reads = std::move(in),
                     .writes = out,
                     .cache = cache});
    return std::get<KernelCall>(op.call);
  }

  Op& append(Op op) {
    // The buffer has new contents: a quantised form of the old ones is stale.
    for (auto& [source, entry] : quantized_) {
      if (source.first == op.writes) entry.fresh = false;
    }
    return edit_.append(std::move(op));
  }

  void set_weight(KernelCall& call, const Tensor* tensor) const {
    call.weight = &weights_.matrix(tensor);
    call.weight_name = tensor->name;
  }

  void set_rope(OpParams& params) const {
    params.head_dim = config_.head_dim;
    params.rope_dims = config_.rope_dims;
    params.rope_adjacent = config_.rope_adjacent;
    params.rope_turns = weights_.rope_turns(config_.layer(layer_));
    params.scale = static_cast<float>(config_.layer(layer_).rope_magnitude);
  }

  const Model& model_;
  const ModelConfig& config_;
  const Weights& weights_;
  const PlanRequest& request_;
  Plan plan_;
  PlanEdit edit_;
  int layer_ = kNoLayer;
  BufferId tokens_, x_, attn_norm_, q_, k_, v_, q_norm_, k_norm_, q_rope_, k_rope_, scores_, softmax_, pv_,
      attn_out_, attn_post_norm_, x_attn_, ffn_norm_, down_, ffn_post_norm_, final_norm_, logits_;
  FfnBuffers dense_, shared_;
  BufferId q_a_ = kNoBuffer, q_a_norm_ = kNoBuffer, v_norm_ = kNoBuffer, q_absorbed_ = kNoBuffer,
           q_latent_ = kNoBuffer, k_latent_ = kNoBuffer, head_out_ = kNoBuffer, expert_probs_ = kNoBuffer;
  BufferId router_ = kNoBuffer, experts_ = kNoBuffer, expert_weights_ = kNoBuffer, expert_gate_ = kNoBuffer,
           expert_up_ = kNoBuffer, expert_act_ = kNoBuffer, expert_down_ = kNoBuffer,
           experts_out_ = kNoBuffer, shared_gate_ = kNoBuffer, shared_out_ = kNoBuffer, ffn_out_ = kNoBuffer;
  std::map<RopeKey, BufferId> rope_tables_;
  struct Quantized {
    BufferId buffer = kNoBuffer;
    bool fresh = false;  // made from the source's present contents
  };
  std::map<std::pair<BufferId, Format>, Quantized> quantized_;
};

}  // namespace

Plan make_plan(const Model& model, const Weights& weights, const PlanRequest& request) {
  return Planner(model, weights, request).build();
}

}  // namespace greta

#include "capture/graph_map.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <set>
#include <utility>

namespace greta::capture {
namespace {

/// What the value of a node is, or was made from by steps that change no number (views, copies, chosen rows).
/// The layer of a place is, until all is read, the number of a block.
struct Tag {
  enum Kind { stage, activated_gate, changed_scores, fused_qkv, normed, weighted } kind = stage;
  At place = {0, Stage::x_in};
  bool scaled = false;  // of queries
  int turned = 0;       // by a matrix of so many rows
};

struct WeightName {
  std::string_view name;
  Stage stage;
};

constexpr WeightName kProducts[] = {
    {"attn_q.weight", Stage::q},
    {"attn_k.weight", Stage::k},
    {"attn_v.weight", Stage::v},
    {"attn_output.weight", Stage::attn_out},
    {"ffn_gate.weight", Stage::gate},
    {"ffn_up.weight", Stage::up},
    {"ffn_down.weight", Stage::down},
    {"output.weight", Stage::logits},
    {"token_embd.weight", Stage::logits},  // where a model has one table for both
    {"ffn_gate_inp.weight", Stage::router},
    {"ffn_gate_inp_shexp.weight", Stage::shared_gate},
    {"ffn_gate_shexp.weight", Stage::gate},
    {"ffn_up_shexp.weight", Stage::up},
    {"ffn_down_shexp.weight", Stage::down},
};
constexpr WeightName kExperts[] = {
    {"ffn_gate_exps.weight", Stage::expert_gate},
    {"ffn_up_exps.weight", Stage::expert_up},
    {"ffn_down_exps.weight", Stage::expert_down},
};
constexpr WeightName kNorms[] = {
    {"attn_norm.weight", Stage::attn_norm},    {"attn_q_norm.weight", Stage::q_norm},
    {"attn_k_norm.weight", Stage::k_norm},     {"post_attention_norm.weight", Stage::attn_post_norm},
    {"ffn_norm.weight", Stage::ffn_norm},      {"post_ffw_norm.weight", Stage::ffn_post_norm},
    {"output_norm.weight", Stage::final_norm},
};

constexpr int kEmbedding = -2;  // where what no block has made counts as made

/// Nodes from one reading of the residual stream to the next writing. Which layer they are, the names of most
/// of their weights say: one of them may be another layer's, and a layer may be left out or computed twice.
struct Block {
  std::map<int, int> votes;  // how many of its weights are of a layer
  At normed, added;          // what its first stage reads, and what its attention is added to: x_in, both
  bool is_added = false;

  int most() const {
    int most = 0;
    for (const auto& [layer, count] : votes) most = std::max(most, count);
    return most;
  }
  int layer() const {
    for (const auto& [layer, count] : votes) {
      if (count == most()) return layer;
    }
    return kNoLayer;
  }
};

/// The norm of a stage is another stage, whichever weight it takes.
constexpr std::pair<Stage, Stage> kNormOf[] = {
    {Stage::x_in, Stage::attn_norm},  {Stage::q, Stage::q_norm},
    {Stage::k, Stage::k_norm},        {Stage::attn_out, Stage::attn_post_norm},
    {Stage::x_attn, Stage::ffn_norm}, {Stage::down, Stage::ffn_post_norm}};

/// "blk.3.attn_q.weight" -> attn_q.weight of layer 3; a name without layer -> itself, kNoLayer.
std::pair<std::string_view, int> split(std::string_view name) {
  if (!name.starts_with("blk.")) return {name, kNoLayer};
  const size_t dot = name.find('.', 4);
  if (dot == std::string_view::npos) return {name, kNoLayer};
  return {name.substr(dot + 1), std::atoi(std::string(name.substr(4, dot - 4)).c_str())};
}

template <size_t N>
std::optional<At> place_in(const WeightName (&table)[N], Tensor weight) {
  const auto [name, layer] = split(weight.name());
  for (const WeightName& row : table) {
    if (row.name == name) return At{layer, row.stage};
  }
  return std::nullopt;
}

bool is_bias(Tensor t) { return t.name().ends_with(".bias"); }

/// Through casts and copies to what lies in memory between two graphs.
Tensor stored(Tensor t) {
  for (t = base_of(t); t.src(0); t = base_of(t.src(0))) {
    const std::string_view op = t.op_name();
    if (op != "CPY" && op != "CONT" && op != "DUP") break;
  }
  return t;
}

class Reader {
 public:
  GraphMap read(void* graph) {
    const std::vector<Tensor> nodes = nodes_of(graph);
    for (const Tensor node : nodes) {
      const std::string_view op = node.op_name();
      for (const int i : {0, 1}) {
        const auto norm = op == "MUL" ? place_in(kNorms, node.src(i)) : std::nullopt;
        if (norm) norms_.insert(norm->stage);
      }
      if (op == "SET_ROWS" || (op == "CPY" && base_of(node) != node)) see_what_is_cached(node);
    }
    settle_what_is_cached();
    for (const Tensor node : nodes) look_at(node);
    if (!nodes.empty()) map_.last = nodes.back();
    number_layers();
    for (const auto& [place, node] : map_.stages) map_.places_of.emplace(node.tensor.address(), place);
    return std::move(map_);
  }

 private:
  using Look = void (Reader::*)(Tensor);

  void look_at(Tensor node) {
    static const std::unordered_map<std::string_view, Look> kLooks = {
        {"GET_ROWS", &Reader::get_rows}, {"SCALE", &Reader::scale},
        {"MUL", &Reader::multiply},      {"MUL_MAT", &Reader::product},
        {"ADD", &Reader::add},           {"ROPE", &Reader::rope},
        {"SET_ROWS", &Reader::set_rows}, {"SOFT_MAX", &Reader::softmax},
        {"RMS_NORM", &Reader::norm},     {"FLASH_ATTN_EXT", &Reader::flash},
        {"GLU", &Reader::glu},           {"UNARY", &Reader::unary},
        {"CPY", &Reader::copy},          {"VIEW", &Reader::view},
        {"RESHAPE", &Reader::pass},      {"PERMUTE", &Reader::pass},
        {"TRANSPOSE", &Reader::pass},    {"CONT", &Reader::pass},
        {"DUP", &Reader::pass},          {"MUL_MAT_ID", &Reader::expert_product},
        {"DIV", &Reader::divide},        {"ADD_ID", &Reader::add_of_experts},
    };
    const auto look = kLooks.find(node.op_name());
    if (look != kLooks.end()) return (this->*look->second)(node);
    // What the choice of experts is made by.
    static const std::set<std::string_view> kBetween = {"NONE", "ARGSORT", "TOP_K", "SUM_ROWS", "CLAMP"};
    if (!kBetween.contains(node.op_name())) map_.unknown.emplace(node.address(), node);
  }

  const Tag* tag(Tensor t) const {
    const auto it = tags_.find(t.address());
    return it == tags_.end() ? nullptr : &it->second;
  }
  bool is(Tensor t, Stage stage) const {
    const Tag* its = tag(t);
    return its != nullptr && its->kind == Tag::stage && its->place.stage == stage;
  }
  bool is_residual(Tensor t) const { return is(t, Stage::x_in) || is(t, Stage::x_out); }

  int open_block(Tensor input) {
    const At read = tag(input)->place;
    blocks_.push_back({.votes = {}, .normed = read, .added = read});
    return block_of_[input.address()] = static_cast<int>(blocks_.size()) - 1;
  }
  /// The last block that reads this, or a new one.
  int block_that_reads(Tensor input) {
    const auto it = block_of_.find(input.address());
    return it == block_of_.end() ? open_block(input) : it->second;
  }
  /// The last one that is this layer.
  int block_named(int layer) {
    for (int b = static_cast<int>(blocks_.size()) - 1; b >= 0; --b) {
      if (blocks_[static_cast<size_t>(b)].layer() == layer) return b;
    }
    blocks_.push_back({.votes = {}, .normed = {kEmbedding, Stage::logits}, .added = {}});
    return static_cast<int>(blocks_.size()) - 1;
  }
  /// As they meet the keys: some layers of some models have no RoPE.
  bool are_queries(Tensor t) const { return is(t, Stage::q_rope) || is(t, Stage::q_norm) || is(t, Stage::q); }
  void pass(Tensor node) {
    if (const Tag* its = tag(node.src(0))) tags_[node.address()] = Tag(*its);
  }

  /// Of one product of three weights the queries come first, then the keys.
  void view(Tensor node) {
    const Tag* its = tag(node.src(0));
    if (its == nullptr || its->kind != Tag::fused_qkv) return pass(node);
    const size_t bytes = static_cast<size_t>(node.ne(0) * node.ne(1)) * node.nb(0), offset = node.view_offs();
    if (offset == 0) query_bytes_ = bytes;
    const Stage stage = offset == 0 ? Stage::q : offset == query_bytes_ ? Stage::k : Stage::v;
    found(node, {its->place.layer, stage}, fused_kernel_);
  }

  void found(Tensor node, At place, std::string kernel) {
    map_.stages[place] = {.tensor = node, .kernel = std::move(kernel)};
    tags_[node.address()] = {Tag::stage, place};
  }
  void found(Tensor node, At place) { found(node, place, "ggml." + lower(node.op_name())); }
  /// The stage's value is this node's instead; its kernel stays.
  void replaced(Tensor node, At place) { found(node, place, map_.stages[place].kernel); }

  static std::string product_kernel(Tensor weight, int64_t rows) {
    return "ggml.mul_mat." + std::string(weight.type()) + (rows > 1 ? ".gemm" : ".gemv");
  }

  void get_rows(Tensor node) {
    if (tag(node.src(0)) != nullptr) {  // rows of activations: those whose logits are wanted
      pass(node);
      if (!node.src(1).src(0)) map_.output_rows = node.src(1);
    } else if (node.src(0).name() == "token_embd.weight") {
      map_.tokens = node.src(1);
      found(node, {kEmbedding, Stage::x_in});
    }
  }

  void scale(Tensor node) {
    const Tag* its = tag(node.src(0));
    if (its == nullptr) return;
    Tag next = *its;
    if (is(node.src(0), Stage::x_in) || is(node.src(0), Stage::logits)) return replaced(node, next.place);
    if (is(node.src(0), Stage::qk)) next.kind = Tag::changed_scores;
    next.scaled = true;
    tags_[node.address()] = next;
  }

  void norm(Tensor node) {
    const Tensor input = node.src(0);
    if (is_residual(input)) {
      tags_[node.address()] = {Tag::normed, {open_block(input), Stage::x_in}};
    } else if (const Tag* its = tag(input)) {
      tags_[node.address()] = {Tag::normed, its->place};
    }
  }

  /// A weight says which stage; of which block, what it meets: an engine may take another layer's weight.
  At met(At by_weight, Tensor input) {
    const Tag* its = tag(input);
    At place = by_weight;
    if (its != nullptr && its->kind == Tag::normed && info(by_weight.stage).kind != StageKind::projection) {
      for (const auto& [of, norm] : kNormOf) {
        const bool has = norms_.contains(norm) || norm == Stage::ffn_norm;  // gpt-oss: by another name
        if (has && its->place.stage == of) place.stage = norm;
      }
    }
    if (by_weight.layer == kNoLayer) {  // of the whole model; or taken for a layer's
      const bool begins = place.stage != by_weight.stage;
      return begins ? At{its->place.layer, place.stage} : by_weight;
    }
    if (its == nullptr) {
      place.layer = block_named(by_weight.layer);
    } else if (is_residual(input)) {
      place.layer = block_that_reads(input);
    } else {
      place.layer = its->place.layer;
      const Block& block = blocks_[static_cast<size_t>(place.layer)];
      // Another layer's input, or another stage's: where both are other than the weight's, it begins a layer.
      const bool strange = block.layer() != kNoLayer && block.layer() != by_weight.layer;
      if (strange && place.stage != by_weight.stage) place = {open_block(input), by_weight.stage};
    }
    ++blocks_[static_cast<size_t>(place.layer)].votes[by_weight.layer];
    return place;
  }

  void expert_product(Tensor node) {
    const Tensor weight = base_of(node.src(0));
    const auto by_weight = place_in(kExperts, weight);
    if (!by_weight) return;
    const At place = met(*by_weight, node.src(1));
    const At choice{place.layer, Stage::experts};
    if (!map_.stages.contains(choice)) {  // the first numbers of a sorted row
      found(base_of(node.src(2)), choice);
      map_.stages[choice].columns = node.src(2).ne(0);
    }
    found(node, place,
          "ggml.mul_mat_id." + std::string(weight.type()) + (node.src(1).ne(2) > 1 ? ".gemm" : ".gemv"));
  }

  /// What the chosen experts gave, by their weights; the sum of all of them.
  bool weigh(Tensor node) {
    if (!is(node.src(0), Stage::expert_down)) return false;
    const At place{tag(node.src(0))->place.layer, Stage::experts_out};
    found(node.src(1), {place.layer, Stage::expert_weights}, "ggml.expert_weights");
    tags_[node.address()] = {Tag::weighted, place};
    return true;
  }
  bool add_experts(Tensor node) {
    const Tag *a = tag(node.src(0)), *b = tag(node.src(1));
    if (a == nullptr || b == nullptr) return false;
    const auto is_part = [](const Tag& its) {
      return its.kind == Tag::weighted || (its.kind == Tag::stage && its.place.stage == Stage::experts_out);
    };
    if (is_part(*a) && b->kind == Tag::weighted) {
      found(node, {a->place.layer, Stage::experts_out}, "ggml.add.experts");
      return true;
    }
    const bool shared = is(node.src(1), Stage::shared_out) || is(node.src(1), Stage::down);
    if (!is(node.src(0), Stage::experts_out) || !shared) return false;
    found(node, {a->place.layer, Stage::ffn_out});
    return true;
  }

  void multiply(Tensor node) {
    if (weigh(node)) return;
    for (const int i : {1, 0}) {
      const auto place = place_in(kNorms, node.src(i));
      if (!place) continue;
      found(node, met(*place, node.src(1 - i)), "ggml.rms_norm");
      if (place->layer == kNoLayer) map_.stages[*place] = {node, "ggml.rms_norm"};
      return;
    }
    for (const int i : {0, 1}) {  // an activation that is not one op with its product
      const Tag* gate = tag(node.src(i));
      if (gate != nullptr && gate->kind == Tag::activated_gate && is(node.src(1 - i), Stage::up))
        return found(node, {gate->place.layer, Stage::act}, "ggml.glu");
      if (gate != nullptr && gate->place.stage == Stage::shared_gate && is(node.src(1 - i), Stage::down))
        return found(node, {gate->place.layer, Stage::shared_out});
    }
  }

  void product(Tensor node) {
    const Tensor left = node.src(0);
    if (const auto place = place_in(kProducts, base_of(left))) {
      if (place->stage == Stage::logits) read_by_head(node.src(1));
      At at = met(*place, node.src(1));
      if (const auto it = cached_as_.find(node.address()); it != cached_as_.end()) at.stage = it->second;
      return found(node, at, product_kernel(base_of(left), node.src(1).ne(1)));
    }
    if (const auto [name, layer] = split(base_of(left).name()); name == "attn_qkv.weight") {
      fused_kernel_ = product_kernel(base_of(left), node.src(1).ne(1));
      tags_[node.address()] = {Tag::fused_qkv, met({layer, Stage::q}, node.src(1))};
      return;
    }
    const Tag* right = tag(node.src(1));
    if (right == nullptr) return;
    const int layer = right->place.layer;
    const Tensor cache = stored(left);
    if (are_queries(node.src(1)) && keys_.contains(cache.address())) {
      AttentionMap& attention = map_.attention[layer];
      attention.cached_keys = cache;
      attention.turned_keys = right->turned;
      attention.scaled_queries = right->scaled;
      found(node, {layer, Stage::qk}, "ggml.kq." + std::string(left.type()));
    } else if (is(node.src(1), Stage::softmax) && values_.contains(cache.address())) {
      map_.attention[layer].cached_values = cache;
      found(node, {layer, Stage::pv}, "ggml.kqv." + std::string(left.type()));
    } else if (!left.src(0) && left.ne(0) == left.ne(1) && left.type() == "f32") {
      Tag turned = *right;  // llama.cpp turns queries, keys and values of quantised caches
      turned.turned = static_cast<int>(left.ne(0));
      tags_[node.address()] = turned;
    }
  }

  /// The norm before the head is the last one, whichever weight it takes.
  void read_by_head(Tensor input) {
    if (!is(input, Stage::attn_norm)) return;
    const At norm = tag(input)->place;
    map_.stages[{kNoLayer, Stage::final_norm}] = map_.stages[norm];
    blocks_[static_cast<size_t>(norm.layer)].votes.clear();
  }

  void add(Tensor node) {
    if (add_experts(node)) return;
    for (const int i : {1, 0}) {
      const Tag* its = tag(node.src(1 - i));
      if (!is_bias(node.src(i)) || its == nullptr) continue;
      if (its->kind == Tag::fused_qkv) {
        tags_[node.address()] = Tag(*its);
        return;
      }
      return replaced(node, its->place);
    }
    for (const int i : {0, 1}) {
      const Tag* its = tag(node.src(i));
      if (its == nullptr || its->kind != Tag::stage) continue;
      const Stage branch = its->place.stage;
      if (branch == Stage::attn_out || branch == Stage::attn_post_norm) {
        const int number = its->place.layer;
        Block& block = blocks_[static_cast<size_t>(number)];
        block.is_added = is_residual(node.src(1 - i));
        if (block.is_added) block.added = tag(node.src(1 - i))->place;
        return found(node, {number, Stage::x_attn});
      }
      if (branch == Stage::down || branch == Stage::ffn_post_norm || branch == Stage::experts_out ||
          branch == Stage::ffn_out)
        return found(node, {its->place.layer, Stage::x_out});
    }
  }

  void add_of_experts(Tensor node) {
    const Tag* its = tag(node.src(0));
    if (its != nullptr && its->kind == Tag::stage && is_bias(node.src(1))) replaced(node, its->place);
  }

  void rope(Tensor node) {
    if (keys_.contains(stored(node.src(0)).address()) || is_cache(node.src(0)))
      map_.shifted = stored(node.src(0));
    const Tag* its = tag(node.src(0));
    if (its == nullptr || its->kind != Tag::stage) return;
    const Stage from = its->place.stage;
    const bool queries = from == Stage::q || from == Stage::q_norm;
    if (!queries && from != Stage::k && from != Stage::k_norm) return;
    map_.positions = node.src(1);
    found(node, {its->place.layer, queries ? Stage::q_rope : Stage::k_rope});
  }

  /// A stored tensor that is no weight, and is turned: a cache.
  static bool is_cache(Tensor t) {
    const Tensor base = stored(t);
    return !base.src(0) && !base.name().ends_with(".weight") && base.name().starts_with("cache");
  }

  void written(Tensor node, Tensor from, Tensor slots) {
    const Tag* its = tag(from);
    if (its == nullptr || its->kind != Tag::stage) return;
    const Stage stage = its->place.stage;
    const void* cache = base_of(node).address();
    if (stage == Stage::k_rope || stage == Stage::k_norm || stage == Stage::k) {
      keys_.insert(cache);
      map_.attention[its->place.layer].slots = slots;
    } else if (stage == Stage::v) {
      values_.insert(cache);
      map_.attention[its->place.layer].turned_values = its->turned;
    }
  }
  void set_rows(Tensor node) { written(node, node.src(0), node.src(1)); }
  /// A cast, or a copy into a cache as versions before SET_ROWS wrote it: there the view says where.
  void copy(Tensor node) {
    pass(node);
    if (base_of(node) != node) written(node, node.src(0), node);
  }

  void softmax(Tensor node) {
    const Tag* its = tag(node.src(0));
    if (its == nullptr || its->place.stage != Stage::qk) return;
    AttentionMap& attention = map_.attention[its->place.layer];
    attention.scale = node.float_parameter(0);
    attention.plain_scores = its->kind == Tag::stage;
    if (node.src(1)) attention.mask = stored(node.src(1));
    found(node, {its->place.layer, Stage::softmax});
  }

  void flash(Tensor node) {
    if (!are_queries(node.src(0))) return;
    const Tag queries = *tag(node.src(0));
    const Tensor keys = stored(node.src(1)), values = stored(node.src(2));
    if (!keys_.contains(keys.address()) || !values_.contains(values.address())) return;
    AttentionMap& attention = map_.attention[queries.place.layer];
    attention.fused = true;
    if (node.src(3)) attention.mask = stored(node.src(3));
    attention.cached_keys = keys;
    attention.cached_values = values;
    attention.turned_keys = queries.turned;
    attention.scaled_queries = queries.scaled;
    found(node, {queries.place.layer, Stage::pv});
  }

  void glu(Tensor node) {
    if (is(node.src(0), Stage::up) &&
        !node.src(1)) {  // one product of both weights: gate, then up, or turned round
      const int layer = tag(node.src(0))->place.layer;
      const StageNode both = map_.stages[{layer, Stage::up}];
      const int64_t half = node.ne(0), gate = node.int_parameter(1) != 0 ? half : 0;
      map_.stages[{layer, Stage::gate}] = {both.tensor, both.kernel, gate, half};
      map_.stages[{layer, Stage::up}] = {both.tensor, both.kernel, half - gate, half};
      return found(node, {layer, Stage::act});
    }
    if (!node.src(1)) return;
    if (is(node.src(0), Stage::gate) && is(node.src(1), Stage::up))
      found(node, {tag(node.src(0))->place.layer, Stage::act});
    if (is(node.src(0), Stage::expert_gate) && is(node.src(1), Stage::expert_up))
      found(node, {tag(node.src(0))->place.layer, Stage::expert_act});
  }

  /// llama.cpp's sigmoid of a shared expert's gate: its SiLU by itself.
  void divide(Tensor node) {
    const Tag* its = tag(node.src(0));
    if (its != nullptr && its->kind == Tag::activated_gate) tags_[node.address()] = Tag(*its);
  }

  void unary(Tensor node) {
    // A soft cap: of the logits, or of scores between two scales.
    if (is(node.src(0), Stage::logits)) return replaced(node, tag(node.src(0))->place);
    if (const Tag* its = tag(node.src(0)); its != nullptr && its->kind == Tag::changed_scores)
      return pass(node);
    if (is(node.src(0), Stage::gate) || is(node.src(0), Stage::shared_gate))
      tags_[node.address()] = {Tag::activated_gate, tag(node.src(0))->place};
  }

  /// A product with the key's weight, or the value's, whose result a cache takes: keys are turned. Where an
  /// engine takes one's weight for the other, the name says the wrong one.
  void see_what_is_cached(Tensor node) {
    bool turned = false;
    Tensor t = node.src(0);
    for (int steps = 0; t && steps < 16; ++steps) {
      const auto place = t.op_name() == "MUL_MAT" ? place_in(kProducts, base_of(t.src(0))) : std::nullopt;
      if (place && (place->stage == Stage::k || place->stage == Stage::v)) {
        written_.push_back({t, base_of(t.src(0)), place->stage, turned});
        return;
      }
      turned = turned || t.op_name() == "ROPE";
      // Of a matrix that turns, and of what is multiplied by a norm's weight, the other one.
      t = t.op_name() == "MUL_MAT" ? t.src(1) : t.src(0);
    }
  }
  struct Written {
    Tensor product, weight;
    Stage by_weight;
    bool turned;
  };
  void settle_what_is_cached() {
    for (const Written& one : written_) {
      const bool twice = std::ranges::any_of(written_, [&](const Written& other) {
        return other.weight == one.weight && other.product != one.product && other.turned != one.turned;
      });
      if (twice) cached_as_[one.product.address()] = one.turned ? Stage::k : Stage::v;
    }
  }

  /// What a block begins with: of two the one that the layer before made.
  std::optional<StageNode> input_of(const Block& block) const {
    const auto node = [&](At read) -> std::optional<StageNode> {
      const auto it = map_.stages.find(read);
      return it == map_.stages.end() ? std::nullopt : std::optional(it->second);
    };
    const auto is_before = [&](At read) {
      return read.layer >= 0 && read.stage == Stage::x_out &&
             blocks_[static_cast<size_t>(read.layer)].layer() + 1 == block.layer();
    };
    const bool is_stream = block.normed.stage == Stage::x_in || block.normed.stage == Stage::x_out;
    if (block.is_added && (!is_stream || is_before(block.added))) return node(block.added);
    return is_stream ? node(block.normed) : std::nullopt;
  }

  /// Blocks become layers. What is in two is the one's with more of the layer's weights, or the later.
  void number_layers() {
    std::map<At, StageNode> stages;
    std::map<int, AttentionMap> attention;
    std::map<int, int> most;  // by layer
    for (const auto& [place, node] : map_.stages) {
      if (place.layer == kNoLayer) stages[place] = node;
    }
    for (size_t b = 0; b < blocks_.size(); ++b) {
      const Block& block = blocks_[b];
      const int layer = block.layer(), number = static_cast<int>(b);
      if (layer == kNoLayer) continue;
      const bool known = most.contains(layer), wins = !known || block.most() >= most[layer];
      bool twice = false;
      const auto take = [&](Stage stage, const StageNode& node) {
        const bool fresh = !stages.contains({layer, stage});
        twice = twice || !fresh;
        if (fresh || wins) stages[{layer, stage}] = node;
      };
      if (const auto input = input_of(block)) take(Stage::x_in, *input);
      for (auto it = map_.stages.lower_bound({number, Stage::x_in});
           it != map_.stages.end() && it->first.layer == number; ++it)
        take(it->first.stage, it->second);
      if (const auto it = map_.attention.find(number);
          it != map_.attention.end() && (wins || !attention.contains(layer)))
        attention[layer] = it->second;
      most[layer] = std::max(most[layer], block.most());
      if (twice)
        map_.notes.push_back("layer " + std::to_string(layer) +
                             " is computed twice in one graph: one of them is recorded");
    }
    map_.stages = std::move(stages);
    map_.attention = std::move(attention);
  }

  GraphMap map_;
  std::vector<Block> blocks_;
  std::unordered_map<const void*, int> block_of_;  // by what it reads
  std::vector<Written> written_;
  std::set<Stage> norms_;                             // that the graph has weights of
  std::unordered_map<const void*, Stage> cached_as_;  // products of which the weight's name is not believed
  std::unordered_map<const void*, Tag> tags_;
  std::string fused_kernel_;
  size_t query_bytes_ = 0;               // of a row
  std::set<const void*> keys_, values_;  // caches that this graph writes to
};

}  // namespace

void GraphMap::leave_out_attention(int layer) {
  attention.erase(layer);
  std::erase_if(places_of, [&](const auto& found) {
    const At at = found.second;
    return at.layer == layer &&
           (at.stage == Stage::qk || at.stage == Stage::softmax || at.stage == Stage::pv);
  });
}

GraphMap map_of(void* graph) { return Reader().read(graph); }

}  // namespace greta::capture

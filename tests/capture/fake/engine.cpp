// A llama of tests/engine/tiny_model.h on the fake ggml, as llama.cpp builds its graphs: a prompt of six
// tokens, then steps. Prints the tokens that it chose.
//   fake_engine MODEL [--flash] [--watch] [--two] [--shifted] [--warm] [--sleep]
//               [--chunk N] [--steps N] [--exit N] [BUG]
// [--strange]: the logits go through an op that makes no stage.
// BUG: --late, --astray, --lost, --misplaced, --skipped, --twice, --same (see below).

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ggml.h"
#include "model/gguf.h"

namespace {

constexpr int64_t kEmbd = 64, kFf = 96, kHeads = 4, kKvHeads = 2, kDim = 16, kVocab = 80, kSlots = 32;
constexpr int kF32 = 0, kI32 = 26, kI64 = 27;

class Engine {
 public:
  using Options = std::map<std::string, int>;

  Engine(const std::string& path, const Options& options) : file_(greta::open_gguf(path)), options_(options) {
    for (const char* name : {"cache_k_l0", "cache_k_l1", "cache_v_l0", "cache_v_l1"}) {
      memory_.emplace_back(kSlots * kKvHeads * kDim);
      caches_[name] = fake_leaf(name, kF32, kKvHeads * kDim, kSlots, memory_.back().data());
    }
  }

  void* scheduler() const { return scheduler_; }

  struct Row {
    int token, position, text;
  };

  /// One graph; the token that the last row of each text makes likeliest.
  std::vector<int> forward(const std::vector<Row>& batch) {
    rows_ = static_cast<int64_t>(batch.size());
    std::vector<int64_t> slots;
    std::vector<int32_t> ids, at, last;
    for (const Row& row : batch) {
      slots.push_back(static_cast<int64_t>(held_.size()) + (has("--astray") && rows_ == 1 ? 1 : 0));
      held_.push_back(row);
      ids.push_back(row.token);
      at.push_back(row.position - (has("--misplaced") && row.position >= 4 ? 1 : 0));
      const bool ends = &row == &batch.back() || (&row)[1].text != row.text;
      if (ends) last.push_back(static_cast<int32_t>(&row - batch.data()));
    }
    const auto n_kv = static_cast<int64_t>(held_.size()) + 1;
    std::vector<float> mask;
    for (const Row& row : batch) {
      for (const Row& held : held_)
        mask.push_back(held.text == row.text && held.position <= row.position ? 0 : -INFINITY);
      mask.push_back(-INFINITY);
    }
    const auto outs = static_cast<int64_t>(last.size());
    std::vector<int64_t> keys = slots;
    if (has("--lost") && rows_ > 1) keys.back() -= 1;
    key_slots_ = fake_leaf("k_idxs", kI64, rows_, 1, keys.data());
    slots_ = fake_leaf("v_idxs", kI64, rows_, 1, slots.data());
    positions_ = fake_leaf("inp_pos", kI32, rows_, 1, at.data());
    mask_ = fake_leaf("mask", kF32, n_kv, rows_, mask.data());
    ggml_tensor* outputs = fake_leaf("inp_out_ids", kI32, outs, 1, last.data());
    ggml_tensor* x = fake_node(Op::get_rows, kEmbd, rows_, 1, weight("token_embd"),
                               fake_leaf("inp_tokens", kI32, rows_, 1, ids.data()));
    ggml_tensor* embedding = x;
    for (int layer = 0, again = has("--twice") ? 1 : 0; layer < 2; ++layer) {
      if (has("--skipped") && layer == 1) x = embedding;
      const std::string blk = "blk." + std::to_string(layer) + ".";
      ggml_tensor* out = attention(norm(x, blk + "attn_norm"), layer, n_kv);
      if (layer == 1) {
        out = fake_node(Op::get_rows, kEmbd, outs, 1, out, outputs);
        x = fake_node(Op::get_rows, kEmbd, outs, 1, x, outputs);
        rows_ = outs;
      }
      x = fake_node(Op::add, kEmbd, rows_, 1, out, x);
      ggml_tensor* in = norm(x, blk + "ffn_norm");
      ggml_tensor* gate = product(blk + "ffn_gate", in, kFf);
      ggml_tensor* act = fake_node(Op::glu, kFf, rows_, 1, gate, product(blk + "ffn_up", in, kFf));
      x = fake_node(Op::add, kEmbd, rows_, 1, product(blk + "ffn_down", act, kEmbd), x);
      if (again-- > 0) --layer;
    }
    ggml_tensor* logits = product("token_embd", norm(x, "output_norm"), kVocab);
    if (has("--strange")) logits = fake_node(Op::sqr, kVocab, rows_, 1, logits);
    ggml_backend_sched_graph_compute(scheduler_, fake_graph());
    std::vector<int> likeliest;
    for (const float* row = fake_values(logits); std::ssize(likeliest) < outs; row += kVocab)
      likeliest.push_back(static_cast<int>(std::max_element(row, row + kVocab) - row));
    return likeliest;
  }

  /// Two tokens that nobody asked for, as llama.cpp's tools begin.
  void warm_up() {
    llama_set_warmup(nullptr, true);
    forward({{1, 0, 0}, {2, 1, 0}});
    llama_set_warmup(nullptr, false);
    held_.clear();
  }

  /// As a context that is full moves its keys to earlier positions.
  void shift() {
    std::vector<int32_t> by(kSlots, -1);
    ggml_tensor* cache = caches_.at("cache_k_l0");
    ggml_tensor* keys = fake_view(Op::view, cache, {kDim, kKvHeads, kSlots}, {1, kDim, kDim * kKvHeads});
    ggml_tensor* turned =
        fake_node(Op::rope, kDim, kKvHeads, kSlots, keys, fake_leaf("shift", kI32, kSlots, 1, by.data()));
    fake_parameter(turned, 0, 10000);
    ggml_backend_sched_graph_compute(scheduler_, fake_graph());
  }

 private:
  bool has(const char* option) const { return options_.contains(option); }

  ggml_tensor* weight(const std::string& name) {
    ggml_tensor*& made = weights_[name];
    if (made != nullptr) return made;
    const std::string full = name + ".weight";
    const greta::Tensor* t = file_.find_tensor(full);
    if (t == nullptr) std::exit(9);
    void* data = const_cast<std::byte*>(t->data.data());
    return made = fake_leaf(full.c_str(), kF32, static_cast<int64_t>(t->dims[0]),
                            static_cast<int64_t>(t->dims[1]), data);
  }
  ggml_tensor* product(const std::string& name, ggml_tensor* x, int64_t width) {
    return fake_node(Op::mul_mat, width, rows_, 1, weight(name), x);
  }
  ggml_tensor* norm(ggml_tensor* x, const std::string& name) {
    ggml_tensor* normed = fake_node(Op::rms_norm, kEmbd, rows_, 1, x);
    fake_parameter(normed, 0, 1e-5F);
    return fake_node(Op::mul, kEmbd, rows_, 1, normed, weight(name));
  }
  ggml_tensor* turned(ggml_tensor* x, int64_t heads) {
    ggml_tensor* by_head = fake_view(Op::reshape, x, {kDim, heads, rows_}, {1, kDim, kDim * heads});
    ggml_tensor* rope = fake_node(Op::rope, kDim, heads, rows_, by_head, positions_);
    fake_parameter(rope, 0, 10000);
    if (has("--late") && rows_ == 1)
      fake_parameter(rope, 1, 1);  // a bug: a step turns its key and query too far
    return rope;
  }

  ggml_tensor* attention(ggml_tensor* in, int layer, int64_t n_kv) {
    const std::string blk = "blk." + std::to_string(layer) + ".", number = std::to_string(layer);
    const int64_t kv = kKvHeads * kDim;
    ggml_tensor *q = turned(product(blk + "attn_q", in, kEmbd), kHeads),
                *k = turned(product(blk + "attn_k", in, kv), kKvHeads),
                *v = product(blk + (has("--same") && layer == 0 ? "attn_k" : "attn_v"), in, kv);
    ggml_tensor *keys = caches_.at("cache_k_l" + number), *values = caches_.at("cache_v_l" + number);
    fake_set_rows(keys, fake_view(Op::reshape, k, {kv, rows_, 1}, {1, kv, 0}), key_slots_);
    fake_set_rows(values, v, slots_);
    ggml_tensor* queries = fake_view(Op::permute, q, {kDim, rows_, kHeads}, {1, kEmbd, kDim});
    ggml_tensor* seen = fake_view(Op::view, keys, {kDim, n_kv, kKvHeads}, {1, kv, kDim});
    ggml_tensor* mixed = nullptr;
    const float scale = 1 / std::sqrt(static_cast<float>(kDim));
    if (has("--flash")) {
      ggml_tensor* held = fake_view(Op::view, values, {kDim, n_kv, kKvHeads}, {1, kv, kDim});
      mixed = fake_node(Op::flash_attn_ext, kDim, kHeads, rows_, queries, seen, held, mask_);
      fake_parameter(mixed, 0, scale);
    } else {
      ggml_tensor* scores = fake_node(Op::mul_mat, n_kv, rows_, kHeads, seen, queries);
      ggml_tensor* weights = fake_node(Op::soft_max, n_kv, rows_, kHeads, scores, mask_);
      fake_parameter(weights, 0, scale);
      ggml_tensor* held = fake_view(Op::view, values, {n_kv, kDim, kKvHeads}, {kv, 1, kDim});
      ggml_tensor* sums = fake_node(Op::mul_mat, kDim, rows_, kHeads,
                                    fake_node(Op::cont, n_kv, kDim, kKvHeads, held), weights);
      mixed = fake_node(Op::cont, kDim, kHeads, rows_,
                        fake_view(Op::permute, sums, {kDim, kHeads, rows_}, {1, kDim * rows_, kDim}));
    }
    return product(blk + "attn_output", fake_view(Op::reshape, mixed, {kEmbd, rows_, 1}, {1, kEmbd, 0}),
                   kEmbd);
  }

  greta::ModelFile file_;
  Options options_;
  std::vector<Row> held_;  // by slot
  void* scheduler_ = fake_scheduler();
  int64_t rows_ = 0;
  std::deque<std::vector<float>> memory_;
  std::map<std::string, ggml_tensor*> caches_, weights_;
  ggml_tensor *slots_ = nullptr, *key_slots_ = nullptr, *positions_ = nullptr, *mask_ = nullptr;
};

int watched = 0, asked = 0;

/// A program's own observer, which wants every tenth node.
bool watch(ggml_tensor*, bool ask, void*) {
  if (ask) return asked++ % 10 == 0;
  ++watched;
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  std::map<std::string, int> options;
  for (int i = 2; i < argc; ++i) {
    const bool number = i + 1 < argc && argv[i + 1][0] != '-';
    options[argv[i]] = number ? std::atoi(argv[i + 1]) : 1;
    i += number;
  }
  const auto given = [&](const char* name, int otherwise) {
    return options.contains(name) ? options[name] : otherwise;
  };
  if (argc < 2) return 2;
  const auto is_given = [&](const char* name) { return given(name, 0) != 0; };
  Engine engine(argv[1], options);
  if (is_given("--watch")) ggml_backend_sched_set_eval_callback(engine.scheduler(), watch, nullptr);
  if (is_given("--warm")) engine.warm_up();
  const std::vector<int> prompt = {3, 17, 42, 8, 61, 25};
  const int length = is_given("--two") ? 3 : 6;  // two texts of three tokens, or one
  std::vector<Engine::Row> rows;
  for (int i = 0; i < 6; ++i) rows.push_back({prompt[static_cast<size_t>(i)], i % length, i / length});
  std::vector<int> next;
  for (auto row = rows.begin(); row != rows.end();) {
    const auto end = row + std::min<std::ptrdiff_t>(given("--chunk", 6), rows.end() - row);
    next = engine.forward({row, end});
    row = end;
  }
  for (int step = 0; step < given("--steps", 3); ++step) {
    rows.clear();
    for (const int token : next) {
      std::printf("%d\n", token);
      rows.push_back({token, length + step, static_cast<int>(rows.size())});
    }
    if (step == 1 && is_given("--shifted")) engine.shift();
    next = engine.forward(rows);
  }
  if (is_given("--watch")) std::printf("watched %d of %d\n", watched, asked);
  std::fflush(stdout);
  if (is_given("--sleep")) ::sleep(30);
  return given("--exit", 0);
}

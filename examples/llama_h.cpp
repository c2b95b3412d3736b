// llama.cpp through llama.h, recorded by greta_trace.h: all rows of a prompt's prefill, then the prompt's
// last token again at its own position (decode0, aligned), and the logits of every token.
//
//   c++ -std=c++17 -I include -I LLAMA/include -I LLAMA/ggml/include examples/llama_h.cpp -o llama_h
//       -L LLAMA/build/bin -lllama -lggml -lggml-base
//   ./llama_h model.gguf "The capital of France is" bundle && greta diagnose bundle -m model.gguf
//
// `greta capture` does the same for any program, and knows more graphs; this is for a program of your own.
#define GRETA_TRACE_IMPLEMENTATION
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "ggml-backend.h"
#include "greta_trace.h"
#include "llama.h"

namespace {

// What llama.cpp calls a node, up to its "-LAYER", and the stage that it is. Several nodes have one name: the
// op tells them apart (GGML_OP_NONE: any).
struct Node {
  const char* name;
  ggml_op op;
  const char* stage;
};
constexpr Node kNodes[] = {
    {"attn_norm", GGML_OP_NONE, "attn_norm"},
    {"Qcur", GGML_OP_MUL_MAT, "q"},
    {"Kcur", GGML_OP_MUL_MAT, "k"},
    {"Vcur", GGML_OP_MUL_MAT, "v"},
    {"Qcur_normed", GGML_OP_NONE, "q_norm"},
    {"Kcur_normed", GGML_OP_NONE, "k_norm"},
    {"Qcur", GGML_OP_ROPE, "q_rope"},
    {"Kcur", GGML_OP_ROPE, "k_rope"},
    {"kqv_out", GGML_OP_NONE, "pv"},
    {"attn_post_norm", GGML_OP_NONE, "attn_post_norm"},
    {"ffn_inp", GGML_OP_NONE, "x_attn"},
    {"sa_out", GGML_OP_NONE, "x_attn"},
    {"ffn_norm", GGML_OP_NONE, "ffn_norm"},
    {"ffn_gate", GGML_OP_NONE, "gate"},
    {"ffn_up", GGML_OP_NONE, "up"},
    {"ffn_swiglu", GGML_OP_NONE, "act"},
    {"ffn_geglu", GGML_OP_NONE, "act"},
    {"ffn_out", GGML_OP_NONE, "down"},
    {"ffn_post_norm", GGML_OP_NONE, "ffn_post_norm"},
    {"l_out", GGML_OP_NONE, "x_out"},
    {"result_norm", GGML_OP_NONE, "final_norm"},
    {"result_output", GGML_OP_NONE, "logits"},
};

struct Recording {
  greta_trace trace = 0;
  int64_t first = 0;  // position of the batch's first row
  int64_t rows = 0;   // of the batch
};

const char* stage_of(const ggml_tensor* node, int* layer) {
  // Wo's product has no name of its own in some models.
  if (node->op == GGML_OP_MUL_MAT && std::strstr(node->src[0]->name, ".attn_output.weight") != nullptr) {
    *layer = std::atoi(node->src[0]->name + std::strlen("blk."));
    return "attn_out";
  }
  const char* dash = std::strrchr(node->name, '-');
  const size_t size = dash == nullptr ? std::strlen(node->name) : static_cast<size_t>(dash - node->name);
  *layer = dash == nullptr ? 0 : std::atoi(dash + 1);
  for (const Node& row : kNodes) {
    const bool named = std::strlen(row.name) == size && std::memcmp(row.name, node->name, size) == 0;
    if (named && (row.op == GGML_OP_NONE || row.op == node->op)) return row.stage;
  }
  return nullptr;
}

// Asked twice of each node: whether it is wanted, then with its values.
bool observe(ggml_tensor* node, bool ask, void* user) {
  Recording& recording = *static_cast<Recording*>(user);
  int layer = 0;
  const char* stage = stage_of(node, &layer);
  if (stage == nullptr || node->type != GGML_TYPE_F32 || !ggml_is_contiguous(node)) return !ask;
  if (ask) return true;
  std::vector<char> values(ggml_nbytes(node));
  ggml_backend_tensor_get(node, values.data(), 0, values.size());
  // Heads of q and k follow each other in a row. With the logits of all rows no graph keeps fewer.
  const int64_t width = ggml_nelements(node) / recording.rows;
  greta_trace_rows(recording.trace, stage, layer, values.data(), GRETA_TRACE_F32, recording.rows, width,
                   recording.first);
  return true;
}

bool decode(llama_context* context, Recording& recording, const std::vector<llama_token>& tokens,
            int64_t first) {
  llama_batch batch = llama_batch_init(static_cast<int32_t>(tokens.size()), 0, 1);
  batch.n_tokens = static_cast<int32_t>(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    batch.token[i] = tokens[i];
    batch.pos[i] = static_cast<llama_pos>(first + static_cast<int64_t>(i));
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = 0;
    batch.logits[i] = 1;  // of every token
  }
  recording.first = first;
  recording.rows = batch.n_tokens;
  const bool good = llama_decode(context, batch) == 0;
  llama_batch_free(batch);
  return good;
}

int fail(const char* what) {
  std::fprintf(stderr, "llama_h: %s: %s\n", what, greta_trace_error());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return std::fprintf(stderr, "usage: llama_h MODEL.gguf PROMPT BUNDLE\n"), 2;
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  ggml_backend_load_all();
  llama_model_params model_params = llama_model_default_params();
  llama_model* model = llama_model_load_from_file(argv[1], model_params);
  if (model == nullptr) return fail("cannot load the model");
  const llama_vocab* vocab = llama_model_get_vocab(model);
  std::vector<llama_token> tokens(std::strlen(argv[2]) + 8);
  const int count = llama_tokenize(vocab, argv[2], static_cast<int32_t>(std::strlen(argv[2])), tokens.data(),
                                   static_cast<int32_t>(tokens.size()), true, true);
  if (count < 1) return fail("the prompt has no tokens");
  tokens.resize(static_cast<size_t>(count));

  Recording recording;
  llama_context_params params = llama_context_default_params();
  params.n_ctx = params.n_batch = params.n_ubatch = static_cast<uint32_t>(count) + 32;
  params.cb_eval = observe;
  params.cb_eval_user_data = &recording;
  params.no_perf = true;
  llama_context* context = llama_init_from_model(model, params);
  if (context == nullptr) return fail("cannot make a context");

  greta_trace_meta meta = GRETA_TRACE_ZERO;
  meta.engine = "llama.cpp (examples/llama_h.cpp)";
  meta.model_file = argv[1];
  meta.kv_format = "f16";
  meta.shared_cache = 1;
  meta.decode0_row = "freed";
  recording.trace = greta_trace_open(argv[3], &meta);
  if (recording.trace == 0) return fail("cannot open the bundle");
  greta_trace_prompt(recording.trace, "prompt", argv[2], tokens.data(), tokens.size());
  greta_trace_begin(recording.trace, "prefill", "prompt", nullptr);
  bool good = decode(context, recording, tokens, 0);
  // The last token again, at its own position: its row of the cache is given back first.
  llama_memory_seq_rm(llama_get_memory(context), 0, count - 1, -1);
  greta_trace_begin(recording.trace, "decode0", "prompt", nullptr);
  good = good && decode(context, recording, {tokens.back()}, count - 1);
  llama_free(context);
  llama_model_free(model);
  if (greta_trace_close(recording.trace) != GRETA_TRACE_OK) return fail("the recording is not whole");
  return good ? 0 : fail("llama_decode failed");
}

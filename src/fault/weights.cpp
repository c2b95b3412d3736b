// Projections that read the wrong weight, or the right one in the wrong order.

#include <algorithm>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/parallel.h"
#include "fault/bank.h"
#include "fault/matrix.h"

namespace greta {
namespace {

/// Element (i, j) of W [n, k] is taken from place j * n + i of its row-major buffer:
/// for a square weight the transpose.
void read_column_major(Matrix& w, const TwinSite& site) {
  constexpr int64_t kRows = 16;  // a line of the buffer serves so many
  const std::vector<float> buffer = w.data;
  parallel_for(site.engine.options().threads, static_cast<size_t>((w.n + kRows - 1) / kRows),
               [&](size_t tile) {
                 const int64_t first = static_cast<int64_t>(tile) * kRows, end = std::min(first + kRows, w.n);
                 for (int64_t j = 0; j < w.k; ++j) {
                   for (int64_t i = first; i < end; ++i)
                     w.at(i, j) = buffer[static_cast<size_t>(j * w.n + i)];
                 }
               });
}

/// The row that turns as element (pair, half) of its head stands where the other order of rows has it: `to`
/// halves takes the file's adjacent pairs for halves, else the reverse.
void reorder_rows(Matrix& w, const TwinSite& site, bool to_halves) {
  const std::vector<float> rows = w.data;
  const int64_t width = rope_width(site.at().stage, site.config()),
                first = rope_first(site.at().stage, site.config()), half_dim = (width - first) / 2;
  for (int64_t row = 0; row < w.n; ++row) {
    const int64_t head = row / width * width + first, i = row % width - first;
    if (i < 0) continue;  // of MLA: it does not turn
    const int64_t from = to_halves ? 2 * (i % half_dim) + i / half_dim : i % 2 * half_dim + i / 2;
    for (int64_t j = 0; j < w.k; ++j) w.at(row, j) = rows[static_cast<size_t>((head + from) * w.k + j)];
  }
}

void rows_in_halves(Matrix& w, const TwinSite& site) { reorder_rows(w, site, true); }
void rows_paired_twice(Matrix& w, const TwinSite& site) { reorder_rows(w, site, false); }

/// Half the row's largest weight more (by default): one element of one row in the middle.
void change_element(Matrix& w, const TwinSite& site) {
  const int64_t row = w.n / 2;
  int64_t largest = 0;
  for (int64_t j = 1; j < w.k; ++j) {
    if (std::abs(w.at(row, j)) > std::abs(w.at(row, largest))) largest = j;
  }
  w.at(row, largest) *= static_cast<float>(1 + site.size);
}

/// The op with another tensor of the model, of the same shape.
Wrong read_tensor(const TwinSite& site, const Tensor* tensor) {
  if (tensor == nullptr) return {};
  const KernelCall& right = site.call();
  if (right.kernel->op == OpKind::rms_norm) {
    const float* vector = site.engine.weights().vector(tensor);
    return [kernel = right.kernel, vector](const WrongCall& call) {
      KernelArgs args = call.args;
      args.in[1].data = reinterpret_cast<std::byte*>(const_cast<float*>(vector));
      kernel->run(args, {0, 1});
    };
  }
  const PackedWeight& other = site.engine.weights().matrix(tensor);
  if (other.n != right.weight->n || other.k != right.weight->k) {
    fail_input("{} is {} x {}, {} is {} x {}: this model's {} can't read it", tensor->name, other.n, other.k,
               right.weight_name, right.weight->n, right.weight->k, name(site.at().stage));
  }
  return multiply_by(site, std::shared_ptr<const PackedWeight>(std::shared_ptr<void>(), &other));
}

MakeWrong weight_of_sibling(Stage sibling) {
  return [sibling](TwinSite& site) {
    return read_tensor(site, weight_of(site.engine.model(), {sibling, site.op.layer}));
  };
}

/// The layer before's; the first one's takes the second's.
Wrong weight_of_neighbour(TwinSite& site) {
  const Model& model = site.engine.model();
  const int layer = site.op.layer;
  if (model.layers.size() < 2) fail_input("a model of one layer has no other layer's weights");
  return read_tensor(site, weight_of(model, {site.at().stage, layer == 0 ? 1 : layer - 1}));
}

/// The table [n_vocab, n_embd] read column-major, one element at a time: it is large, few rows are needed.
Wrong embed_column_major(TwinSite&) {
  return [](const WrongCall& call) {
    const PackedWeight& table = *call.args.weight;
    std::vector<float> row(static_cast<size_t>(table.k));
    set_each(call.args.out, [&](int64_t r, int64_t i) {
      const int64_t place = i * table.n + *reinterpret_cast<const int32_t*>(call.args.in[0].raw_row(r));
      unpack_row(table, place / table.k, row.data());
      return row[static_cast<size_t>(place % table.k)] * call.args.params.scale;
    });
  };
}

/// Token id + 1; the last one wraps.
Wrong embed_next_token(TwinSite&) {
  return [](const WrongCall& call) {
    const PackedWeight& table = *call.args.weight;
    for (int64_t r = 0; r < call.args.out.rows; ++r) {
      const int64_t id = *reinterpret_cast<const int32_t*>(call.args.in[0].raw_row(r));
      unpack_row(table, (id + 1) % table.n, call.args.out.row(r));
    }
    set_each(call.args.out,
             [&](int64_t r, int64_t i) { return call.args.out.row(r)[i] * call.args.params.scale; });
  };
}

}  // namespace

FaultList weight_faults() {
  const std::string b331 = kFounding + " (B3.34-36, B3.40)",
                    transposed = kGitHub + "pytorch/pytorch/pull/37569";
  const std::string permuted = kGitHub + "ggml-org/llama.cpp/pull/22611", heads = kFounding + " (B3.21)";
  const std::string slice = kFounding + " (B3.25, of the KV cache)", table = kFounding + " (B3.9)";
  const MakeWrong column_major = edited(read_column_major);
  const auto column = [&](const char* name, Stage stage, const char* weight, const std::string& source) {
    return Fault{name,        "weight_column_major",
                 stage,       std::string("the dequantised ") + weight + " is read column-major",
                 source,      "weight_column_major",
                 column_major};
  };
  const auto swapped = [&](const char* name, Stage stage, const char* what, Stage sibling) {
    return Fault{name, "swapped_weight", stage, what, heads, "swapped_weight", weight_of_sibling(sibling)};
  };
  const auto neighbour = [&](const char* name, Stage stage, const char* what) {
    return Fault{name, "wrong_layer_weight", stage, what, slice, "wrong_layer_weight", weight_of_neighbour};
  };
  return {
      column("wq_column_major", Stage::q, "Wq", b331),
      column("wk_column_major", Stage::k, "Wk", b331),
      column("wv_column_major", Stage::v, "Wv", b331),
      column("wo_column_major", Stage::attn_out, "Wo", b331),
      column("w_gate_column_major", Stage::gate, "W_gate", transposed),
      column("w_up_column_major", Stage::up, "W_up", transposed),
      column("w_down_column_major", Stage::down, "W_down", transposed),
      column("w_output_column_major", Stage::logits, "output weight", kFounding + " (B3.16)"),
      {"embedding_column_major", "embedding_column_major", Stage::x_in,
       "the embedding table is read column-major", table, "weight_column_major", embed_column_major},
      {"token_shift", "token_shift", Stage::x_in, "the embedding of token id + 1", kMadeUp, "token_shift",
       embed_next_token},
      {"wq_rope_rows", "rope_row_order", Stage::q, "Wq's rows are left in rotate-half order", permuted,
       "rope_row_order", edited(rows_in_halves)},
      {"wk_rope_rows", "rope_row_order", Stage::k, "Wk's rows are left in rotate-half order", permuted,
       "rope_row_order", edited(rows_in_halves)},
      {"wk_rope_rows_twice", "rope_row_order", Stage::k, "Wk's rows are put into pair order twice", permuted,
       "rope_row_order", edited(rows_paired_twice)},
      neighbour("wq_wrong_layer", Stage::q, "Wq of the layer before (of layer 0: the next)"),
      neighbour("w_down_wrong_layer", Stage::down, "W_down of the layer before (of layer 0: the next)"),
      neighbour("ffn_norm_wrong_layer", Stage::ffn_norm,
                "the FFN norm's weight of the layer before (of 0: the next)"),
      swapped("wk_is_wv", Stage::k, "Wv is taken for Wk", Stage::v),
      swapped("w_gate_is_w_up", Stage::gate, "W_up is taken for W_gate", Stage::up),
      swapped("attn_norm_is_ffn_norm", Stage::attn_norm,
              "the FFN norm's weight is taken for the attention norm's", Stage::ffn_norm),
      {"wv_element", "weight_element", Stage::v, "one element of Wv is off", kMadeUp, "weight_element",
       edited(change_element), 1.0},
      {"w_down_element", "weight_element", Stage::down, "one element of W_down is off", kMadeUp,
       "weight_element", edited(change_element), 1.0},
  };
}

}  // namespace greta

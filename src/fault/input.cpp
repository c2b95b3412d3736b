// Right computations on wrong inputs, wrong activations, wrong residuals.

#include <algorithm>
#include <cmath>
#include <numbers>

#include "fault/bank.h"

namespace greta {
namespace {

/// The op reads what made `stage` instead of its first input.
MakeWrong read_instead(Stage stage) {
  return [stage](TwinSite& site) -> Wrong {
    const ModelConfig& config = site.config();
    const int64_t own = row_width(operands_at(config, site.at()).front(), config, 0);
    if (row_width({site.op.layer, stage}, config, 0) != own) return {};  // of a model where they differ
    const size_t other = site.read_also(stage);
    return [kernel = site.call().kernel, isa = site.engine.options().isa, other](const WrongCall& call) {
      run_on(*kernel, call.args, call.args.in[other], isa);
    };
  };
}

/// Row r is what row r - 1 ought to be (rows are computed one from one).
Wrong shift_rows(TwinSite&) {
  return [](const WrongCall& call) {
    const View& out = call.args.out;
    for (int64_t r = out.rows - 1; r > 0; --r) std::copy_n(out.row(r - 1), out.cols, out.row(r));
  };
}

Wrong swap_operands(TwinSite& site) {
  return [kernel = site.call().kernel](const WrongCall& call) {
    KernelArgs args = call.args;
    std::swap(args.in[0], args.in[1]);
    kernel->run(args, {0, 1});
  };
}

/// out = f(in0, in1), as the op's kind wants them; in1 as the op scales it.
template <double (*f)(double a, double b)>
Wrong combine(TwinSite&) {
  return [](const WrongCall& call) {
    const auto& in = call.args.in;
    const double scale = static_cast<double>(call.args.params.scale);
    set_each(call.args.out, [&](int64_t r, int64_t i) {
      return f(static_cast<double>(in[0].row(r)[i]), scale * static_cast<double>(in[1].row(r)[i]));
    });
  };
}

/// The same, but not where f is what the op does anyway.
template <double (*f)(double a, double b), OpKind own>
Wrong combine_unless(TwinSite& site) {
  return is_kind(site.op, own) ? Wrong{} : combine<f>(site);
}

double silu(double x) { return x / (1 + std::exp(-x)); }
double gelu_tanh(double gate, double up) {
  const double inner = std::sqrt(2 / std::numbers::pi) * (gate + 0.044715 * gate * gate * gate);
  return 0.5 * gate * (1 + std::tanh(inner)) * up;
}
double gelu_erf(double gate, double up) {
  return 0.5 * gate * (1 + std::erf(gate / std::numbers::sqrt2)) * up;
}
double quick_gelu(double gate, double up) { return gate / (1 + std::exp(-1.702 * gate)) * up; }
double relu(double gate, double up) { return gate > 0 ? gate * up : 0; }
double hard_swish(double gate, double up) { return gate * std::min(std::max(gate + 3, 0.0), 6.0) / 6 * up; }

double silu_only(double gate, double) { return silu(gate); }
double gelu_only(double gate, double) { return gelu_tanh(gate, 1); }

double residual_only(double residual, double) { return residual; }
double branch_only(double, double branch) { return branch; }
double branch_twice(double residual, double branch) { return residual + 2 * branch; }

/// The activation alone.
Wrong without_up(TwinSite& site) {
  return is_kind(site.op, OpKind::gelu_mul) ? combine<gelu_only>(site) : combine<silu_only>(site);
}

/// residual + (1 + size) * branch
Wrong scale_branch(TwinSite& site) {
  return [by = site.size](const WrongCall& call) {
    const auto& in = call.args.in;
    const double scale = (1 + by) * static_cast<double>(call.args.params.scale);
    set_each(call.args.out, [&](int64_t r, int64_t i) {
      return static_cast<double>(in[0].row(r)[i]) + scale * static_cast<double>(in[1].row(r)[i]);
    });
  };
}

}  // namespace

FaultList input_faults() {
  const std::string batched = kGitHub + "tenstorrent/tt-xla/issues/5940";
  const std::string offset = kFounding + " (B3.42)";
  const std::string skipped = kGitHub + "paiml/aprender/pull/3484";
  const auto wrong_input = [&](const char* name, Stage stage, const char* what, Stage instead) {
    return Fault{name, "wrong_input", stage, what, offset, "wrong_input", read_instead(instead)};
  };
  const auto activation = [&](const char* name, const char* what, MakeWrong make) {
    return Fault{name, "wrong_activation", Stage::act, what, kMadeUp, "wrong_activation", std::move(make)};
  };
  return {
      wrong_input("q_reads_x_in", Stage::q, "reads x_in: the attention norm is left out", Stage::x_in),
      wrong_input("gate_reads_x_attn", Stage::gate, "reads x_attn: the FFN norm is left out", Stage::x_attn),
      wrong_input("logits_read_x_out", Stage::logits, "read x_out: the final norm is left out", Stage::x_in),
      wrong_input("k_rope_reads_v", Stage::k_rope, "turns v instead of k", Stage::v),
      wrong_input("ffn_norm_reads_x_in", Stage::ffn_norm, "reads x_in, not x_attn", Stage::x_in),
      needing(Needs::several_rows,
              Fault{"q_wrong_row", "wrong_row", Stage::q, "row r is computed from row r - 1's input (S > 1)",
                    batched, "wrong_row", shift_rows}),
      needing(Needs::several_rows,
              Fault{"down_wrong_row", "wrong_row", Stage::down,
                    "row r is computed from row r - 1's input (S > 1)", batched, "wrong_row", shift_rows}),
      {"act_swapped", "swapped_operands", Stage::act, "gate and up are exchanged", kMadeUp, "gate_up_swapped",
       swap_operands},
      activation("act_gelu_tanh", "GELU (tanh form) instead of SiLU",
                 combine_unless<gelu_tanh, OpKind::gelu_mul>),
      activation("act_gelu_erf", "GELU (erf) instead of SiLU", combine<gelu_erf>),
      activation("act_quick_gelu", "quick GELU (1.702) instead of SiLU", combine<quick_gelu>),
      activation("act_relu", "ReLU instead of SiLU", combine<relu>),
      activation("act_no_up", "SiLU without the product with up", without_up),
      {"act_hard_swish", "hard_activation", Stage::act, "hard swish instead of SiLU", kMadeUp, "",
       combine<hard_swish>},
      {"x_attn_no_branch", "residual_omitted", Stage::x_attn, "the attention's output is not added", skipped,
       "residual_omitted", combine<residual_only>},
      {"x_out_no_residual", "residual_omitted", Stage::x_out, "the residual is not added to the FFN's output",
       skipped, "residual_omitted", combine<branch_only>},
      {"x_attn_twice", "residual_doubled", Stage::x_attn, "the attention's output is added twice", kMadeUp,
       "residual_doubled", combine<branch_twice>},
      {"x_out_twice", "residual_doubled", Stage::x_out, "the FFN's output is added twice", kMadeUp,
       "residual_doubled", combine<branch_twice>},
      {"x_attn_after_norm", "residual_after_norm", Stage::x_attn, "the residual is taken after the norm",
       kMadeUp, "residual_after_norm", read_instead(Stage::attn_norm)},
      {"x_out_after_norm", "residual_after_norm", Stage::x_out, "the residual is taken after the norm",
       kMadeUp, "residual_after_norm", read_instead(Stage::ffn_norm)},
      {"x_out_branch_scaled", "residual_scaled", Stage::x_out,
       "the FFN's output is scaled (by half) as it is added", kGitHub + "sawfwair/mere-run/pull/136",
       "residual_scaled", scale_branch, -0.5},
  };
}

}  // namespace greta

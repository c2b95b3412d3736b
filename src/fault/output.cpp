// A right result that is scaled, clipped, corrupted or never stored.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "fault/bank.h"

namespace greta {
namespace {

MakeWrong clip(double limit) {
  return change_each([=](double x, int64_t) { return std::clamp(x, -limit, limit); });
}

/// Times 1 + size.
Wrong scale(TwinSite& site) {
  return change_each([by = site.size](double x, int64_t) { return x * (1 + by); })(site);
}

Wrong scale_by_root_width(TwinSite& site) {
  const double root = std::sqrt(static_cast<double>(site.config().n_embd));
  return change_each([=](double x, int64_t) { return x * root; })(site);
}

MakeWrong add_bias() {
  return change_each([](double x, int64_t i) { return x + noise_at(static_cast<uint64_t>(i)) / 2; });
}

/// What the layer before left in the buffer stays; the first layer has none before.
Wrong keep_old(TwinSite& site) {
  if (site.op.layer == 0) return {};
  return [](const WrongCall& call) {
    const View& out = call.args.out;
    set_each(out, [&](int64_t r, int64_t i) { return call.before.row(r)[i]; });
  };
}

MakeWrong set_one(int64_t column, double value) {
  return change_each([=](double x, int64_t i) { return i == column ? value : x; });
}

/// Every 64th element.
double garble(double x, int64_t i) { return i % 64 == 63 ? 1 - 3 * x : x; }

Wrong zero_tail(TwinSite&) {
  return [](const WrongCall& call) {
    const View& out = call.args.out;
    set_each(out, [&](int64_t r, int64_t i) { return i + 16 < out.cols ? out.row(r)[i] : 0; });
  };
}

/// The largest element of each row, times 1 + size.
Wrong scale_one(TwinSite& site) {
  return [by = site.size](const WrongCall& call) {
    const View& out = call.args.out;
    for (int64_t r = 0; r < out.rows; ++r) {
      float* row = out.row(r);
      float* largest =
          std::max_element(row, row + out.cols, [](float a, float b) { return std::abs(a) < std::abs(b); });
      *largest = static_cast<float>(static_cast<double>(*largest) * (1 + by));
    }
  };
}

}  // namespace

FaultList output_faults() {
  const std::string unwritten = kGitHub + "vllm-project/vllm-ascend/pull/6558";
  const std::string epilogue = kGitHub + "chrishayuk/larql/pull/181",
                    bias = kGitHub + "paiml/aprender/issues/2769";
  const std::string dim = kGitHub + "kekzl/imp/issues/1674",
                    tail = kGitHub + "FlashML-org/FreeToken/pull/177";
  const std::string nan = kGitHub + "Dao-AILab/flash-attention/issues/1395";
  const auto stale = [&](const char* name, Stage stage) {
    return Fault{
        name,      "stale_output", stage,   "not written: the layer before's result stays (not in layer 0)",
        unwritten, "stale_output", keep_old};
  };
  const auto corrupted = [&](const char* name, Stage stage, const char* what, MakeWrong make,
                             double size = 0) {
    return Fault{name, "corrupted_elements", stage, what, tail, "corrupted_elements", std::move(make), size};
  };
  const double infinity = std::numeric_limits<double>::infinity();
  return {
      {"q_saturated", "saturation", Stage::q, "clipped at +-1", kMadeUp, "saturation", clip(1)},
      {"gate_saturated", "saturation", Stage::gate, "clipped at +-1", kMadeUp, "saturation", clip(1)},
      {"down_scaled", "output_scaled", Stage::down, "times a constant (1.5; by=0.5)", epilogue,
       "output_scaled", scale, 0.5},
      {"v_scaled", "output_scaled", Stage::v, "times a constant (1.5; by=0.5)", epilogue, "output_scaled",
       scale, 0.5},
      {"logits_scaled", "output_scaled", Stage::logits, "times a constant (1.5; by=0.5)", epilogue,
       "output_scaled", scale, 0.5},
      {"embedding_scale", "embedding_scale", Stage::x_in, "the embedding times sqrt(n_embd), as Gemma has it",
       kGitHub + "ggml-org/llama.cpp/pull/13951", "output_scaled", scale_by_root_width},
      {"q_bias", "bias_added", Stage::q, "a bias is added that the model does not have", bias,
       "constant_offset", add_bias()},
      {"down_bias", "bias_added", Stage::down, "a bias is added that the model does not have", bias,
       "constant_offset", add_bias()},
      stale("q_stale", Stage::q),
      stale("down_stale", Stage::down),
      stale("pv_stale", Stage::pv),
      {"attn_out_zero", "output_zero", Stage::attn_out, "the output stays 0", dim, "output_zero",
       change_each([](double, int64_t) { return 0.0; })},
      {"act_zero", "output_zero", Stage::act, "the output stays 0", dim, "output_zero",
       change_each([](double, int64_t) { return 0.0; })},
      corrupted("up_every_64th", Stage::up, "every 64th element is garbage", change_each(garble)),
      {"gate_tail", "corrupted_elements", Stage::gate, "the last 16 elements are 0", tail, "output_zero",
       zero_tail},
      corrupted("k_element", Stage::k, "a row's largest element is off (by half)", scale_one, 0.5),
      {"down_nan", "nan_output", Stage::down, "one element is NaN", nan, "non_finite",
       set_one(7, std::numeric_limits<double>::quiet_NaN())},
      {"attn_out_infinite", "nan_output", Stage::attn_out, "one element is infinite", nan, "non_finite",
       set_one(7, infinity)},
  };
}

}  // namespace greta

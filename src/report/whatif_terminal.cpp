#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/printable.h"
#include "base/utf8.h"
#include "report/whatif.h"

namespace greta::report {
namespace {

/// Seven columns at most: "1.2e-03", "0".
std::string small(double value) { return value == 0 ? "0" : fmt::format("{:.1e}", value); }
/// Five: "0.013", "8e-03", "2e+02".
std::string ratio(double value) {
  if (value == 0) return "0";
  const bool plain = (value >= 0.01 && value < 99) || !std::isfinite(value);
  return plain ? fmt::format("{:.2g}", value) : fmt::format("{:.0e}", value);
}
/// Six, and a sign: "0.0027", "9998.1", "1e+04".
std::string ulps(double value, bool sign) {
  const double size = std::abs(value);
  const std::string text = size < 9.9999 ? fmt::format("{:.4f}", size)
                           : size < 9999 ? fmt::format("{:.1f}", size)
                                         : fmt::format("{:.0e}", size);
  return (!sign ? "" : std::signbit(value) ? "-" : "+") + text;
}

std::string header(const WhatIf& result) {
  std::string prompts;
  int64_t tokens = 0;
  for (const auto& [id, count] : result.prompts) {
    prompts += (prompts.empty() ? "" : ", ") + id;
    tokens += count;
  }
  const auto cut = [](const std::string& text, size_t columns) {
    const std::string shown = greta::printable(text);
    return shown.size() <= columns ? shown : std::string(utf8_head(shown, columns - 1)) + "~";
  };
  std::string text =
      fmt::format("{}, {} layers traced, {:.1f} s\n{} ({} tokens)\n", cut(result.model_name, 48),
                  result.layers.size(), result.seconds, cut(prompts, 60), tokens);
  if (!result.injected.empty()) {
    std::string faults;
    for (const std::string& fault : result.injected) faults += " " + fault;
    text += cut("injected into all but the reference:" + faults, 80) + "\n";
  }
  return text +
         fmt::format("reference: {}; sim matrix units multiply {}\n", kReferenceName, result.sim_input);
}

std::string judged(const UnitResult& unit) {
  std::string text = fmt::format("{:>6} {}\n", ratio(unit.max_noise_ratio), name(unit.status));
  if (!unit.first_fault.empty()) text += fmt::format("  outside its bound: {}\n", unit.first_fault);
  return text;
}

// 11+9+8+8+8+9+8+6+1+12 = 80
std::string units(const WhatIf& result) {
  std::string text = fmt::format("\n{:<11}{:>9}{:>8}{:>8}{:>8}{:>9}{:>8}{:>6} {}\n", "", "top-1", "mean KL",
                                 "max KL", "logits", "logits", "drift", "max r", "verdict");
  text += fmt::format("{:<11}{:>9}{:>8}{:>8}{:>8}{:>9}{:>8}\n", "device", "agrees", "", "", "max |d|",
                      "mean |d|", "last L");
  for (const UnitResult& unit : result.units) {
    const LogitDifference& logits = unit.logits;
    text += fmt::format("{:<11}{:>9}{:>8}{:>8}{:>8}{:>9}{:>8}", unit.device,
                        fmt::format("{}/{}", logits.top1_agree, logits.positions), small(logits.kl_mean),
                        small(logits.kl_max), small(logits.max_abs), small(logits.mean_abs),
                        unit.drift.empty() ? "-" : small(unit.drift.back().rel_l2));
    text += judged(unit);
  }
  text += fmt::format("{:<11}{:>50}", "reference", "") + judged(result.reference);
  return text +
         "  d: device - reference; logits of every position; KL(reference || device), nats\n"
         "  r: |device - its own f64 oracle| / bound, all stages: at most 1 is rounding\n"
         "     (x_attn and x_out are single roundings: their r is about 1)\n";
}

/// Up to seven of the traced layers, the first and the last among them.
std::vector<size_t> shown_layers(size_t count) {
  constexpr size_t kShown = 7;
  std::vector<size_t> shown;
  if (count <= kShown) {
    for (size_t i = 0; i < count; ++i) shown.push_back(i);
  } else {
    for (size_t i = 0; i < kShown; ++i) shown.push_back(i * (count - 1) / (kShown - 1));
  }
  return shown;
}

std::string drift(const WhatIf& result) {
  const std::vector<size_t> shown = shown_layers(result.layers.size());
  std::string text = fmt::format(
      "\nDrift: relative L2 of x_out against the reference, mean over positions\n{:<11}", "device");
  for (const size_t i : shown) text += fmt::format("{:>9}", fmt::format("L{}", result.layers[i]));
  text += "\n";
  for (const UnitResult& unit : result.units) {
    text += fmt::format("{:<11}", unit.device);
    for (const size_t i : shown)
      text += fmt::format("{:>9}", i < unit.drift.size() ? small(unit.drift[i].rel_l2) : "-");
    text += "\n";
  }
  return text;
}

std::string bias_line(const std::string& device, const AccumulationBias& bias) {
  const auto measured = [](const Mean& mean) {
    return fmt::format("{} +- {}", ulps(mean.value, true), ulps(mean.standard_error, false));
  };
  const auto expected = [](const Mean& mean) { return mean.expected ? ulps(*mean.expected, true) : "-"; };
  return fmt::format("{:<11}{:<8}{:<7}{:>18}{:>9}{:>18}{:>9}\n", device, name(bias.phase), bias.route,
                     measured(bias.up), expected(bias.up), measured(bias.outward), expected(bias.outward));
}

// 11+8+7+2*(18+9) = 80
std::string bias(const WhatIf& result) {
  std::string text = fmt::format(
      "\nBias of the sums: mean error of projections, ulp, +- its standard error\n"
      "{:<11}{:<8}{:<7}{:>18}{:>9}{:>18}{:>9}\n",
      "device", "phase", "route", "up", "expected", "outward", "expected");
  for (const UnitResult& unit : result.units) {
    for (const AccumulationBias& one : unit.bias) text += bias_line(unit.device, one);
  }
  for (const AccumulationBias& one : result.reference.bias) text += bias_line("reference", one);
  return text +
         "  up: device - exact sum; below 0: sums are rounded down (floor)\n"
         "  outward: the same times the sign of the result; below 0: towards zero\n"
         "  expected: what the unit's rule predicts; -: its roundings have mean 0\n";
}

/// The worst over layers, of prefill.
struct Worst {
  double max = 0, mean = 0, noise = 0;
};

std::map<Stage, Worst> worst_of(const UnitResult& unit) {
  std::map<Stage, Worst> worst;
  for (const StageDifference& stage : unit.stages) {
    if (stage.phase != Phase::prefill) continue;
    Worst& one = worst[stage.stage];
    one.max = std::max(one.max, stage.max_abs);
    one.mean = std::max(one.mean, stage.mean_abs);
    one.noise = std::max(one.noise, stage.noise_ratio);
  }
  return worst;
}

// 14 + 3 * 22 = 80; attn_post_norm is the longest name.
std::string stages(std::span<const UnitResult> some) {
  std::string text = fmt::format("\n{:<14}", ""), heads = fmt::format("{:<14}", "stage");
  std::set<Stage> all;
  std::vector<std::map<Stage, Worst>> worst;
  for (const UnitResult& unit : some) {
    text += fmt::format("{:>22}", unit.device);
    heads += fmt::format("{:>8}{:>8}{:>6}", "max |d|", "mean", "r");
    worst.push_back(worst_of(unit));
    for (const auto& [stage, one] : worst.back()) all.insert(stage);
  }
  text += "\n" + heads + "\n";
  for (const Stage stage : all) {
    text += fmt::format("{:<14}", name(stage));
    for (std::map<Stage, Worst>& unit : worst) {
      const Worst& one = unit[stage];
      text += fmt::format("{:>8}{:>8}{:>6}", small(one.max), small(one.mean), ratio(one.noise));
    }
    text += "\n";
  }
  return text;
}

}  // namespace

std::string whatif_terminal(const WhatIf& result) {
  std::string text = header(result) + units(result) + drift(result) + bias(result);
  text += "\nStages of prefill, worst over layers: d against the reference, r as above\n";
  constexpr size_t kAbreast = 3;
  const std::span all(result.units);
  for (size_t i = 0; i < all.size(); i += kAbreast)
    text += stages(all.subspan(i, std::min(kAbreast, all.size() - i)));
  return text;
}

}  // namespace greta::report

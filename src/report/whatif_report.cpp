#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <span>

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

Column number(std::string head, size_t least) {
  return {.head = std::move(head), .align = Align::right, .least = least};
}

Column device_column(size_t least) { return {.head = "device", .least = least}; }

void add_header(const WhatIf& result, Document& document) {
  const auto say = [&document](std::string sentence) { document.push_back(Paragraph{std::move(sentence)}); };
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
  say(fmt::format("{}, {} layers traced, {:.1f} s", cut(result.model_name, 48), result.layers.size(),
                  result.seconds));
  say(fmt::format("{} ({} tokens)", cut(prompts, 60), tokens));
  if (!result.injected.empty()) {
    std::string faults;
    for (const std::string& fault : result.injected) faults += " " + fault;
    say(cut("injected into all but the reference:" + faults, 80));
  }
  say(fmt::format("reference: {}; sim matrix units multiply {}", kReferenceName, result.sim_input));
}

// 10+1+9+1+7+1+7+1+7+1+8+1+7+1+5+1+12 = 80
Table units(const WhatIf& result) {
  Table table{{device_column(10),
               number("agrees", 9),
               number("", 7),
               number("", 7),
               number("max |d|", 7),
               number("mean |d|", 8),
               number("last L", 7),
               number("", 5),
               {}},
              {}};
  table.groups = {{""},       {"top-1"}, {"mean KL"}, {"max KL"}, {"logits"},
                  {"logits"}, {"drift"}, {"max r"},   {"verdict"}};
  table.note_indent = 2;
  const auto add = [&table](const UnitResult& unit, std::vector<TableCell> cells) {
    cells.emplace_back(ratio(unit.max_noise_ratio));
    cells.emplace_back(name(unit.status));
    if (!unit.first_fault.empty())
      table.notes[table.rows.size()] = {"outside its bound: " + unit.first_fault};
    table.rows.push_back(std::move(cells));
  };
  for (const UnitResult& unit : result.units) {
    const LogitDifference& logits = unit.logits;
    add(unit, {unit.device, fmt::format("{}/{}", logits.top1_agree, logits.positions), small(logits.kl_mean),
               small(logits.kl_max), small(logits.max_abs), small(logits.mean_abs),
               unit.drift.empty() ? "-" : small(unit.drift.back().rel_l2)});
  }
  add(result.reference, {"reference", "", "", "", "", "", ""});
  return table;
}

constexpr const char* kUnitsLegend =
    "d: device - reference; logits of every position; KL(reference || device), nats\n"
    "r: |device - its own f64 oracle| / bound, all stages: at most 1 is rounding\n"
    "   (x_attn and x_out are single roundings: their r is about 1)\n";

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

// 11 + 7 * (1 + 8) = 74
Table drift(const WhatIf& result) {
  const std::vector<size_t> shown = shown_layers(result.layers.size());
  Table table{{device_column(11)}, {}};
  for (const size_t i : shown) table.columns.push_back(number(fmt::format("L{}", result.layers[i]), 8));
  for (const UnitResult& unit : result.units) {
    std::vector<TableCell> row{unit.device};
    for (const size_t i : shown) row.emplace_back(i < unit.drift.size() ? small(unit.drift[i].rel_l2) : "-");
    table.rows.push_back(std::move(row));
  }
  return table;
}

// 10+1+7+1+6+1+18+1+8+1+17+1+8 = 80
Table bias(const WhatIf& result) {
  Table table{{device_column(10),
               {.head = "phase", .least = 7},
               {.head = "route", .least = 6},
               number("up", 18),
               number("expected", 8),
               number("outward", 17),
               number("expected", 8)},
              {}};
  const auto measured = [](const Mean& mean) {
    return fmt::format("{} +- {}", ulps(mean.value, true), ulps(mean.standard_error, false));
  };
  const auto expected = [](const Mean& mean) { return mean.expected ? ulps(*mean.expected, true) : "-"; };
  const auto add = [&](const std::string& device, const UnitResult& unit) {
    for (const AccumulationBias& one : unit.bias) {
      table.rows.push_back({device, name(one.phase), one.route, measured(one.up), expected(one.up),
                            measured(one.outward), expected(one.outward)});
    }
  };
  for (const UnitResult& unit : result.units) add(unit.device, unit);
  add("reference", result.reference);
  return table;
}

constexpr const char* kBiasLegend =
    "up: device - exact sum; below 0: sums are rounded down (floor)\n"
    "outward: the same times the sign of the result; below 0: towards zero\n"
    "expected: what the unit's rule predicts; -: its roundings have mean 0\n";

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

// 14 + 3 * (1 + 7 + 1 + 7 + 1 + 5) = 80; attn_post_norm is the longest name.
Table stages(std::span<const UnitResult> some) {
  Table table{{{.head = "stage", .least = 14}}, {}};
  table.groups = {{""}};
  std::set<Stage> all;
  std::vector<std::map<Stage, Worst>> worst;
  for (const UnitResult& unit : some) {
    table.groups.push_back({unit.device, 3});
    table.columns.insert(table.columns.end(), {number("max |d|", 7), number("mean", 7), number("r", 5)});
    worst.push_back(worst_of(unit));
    for (const auto& [stage, one] : worst.back()) all.insert(stage);
  }
  for (const Stage stage : all) {
    std::vector<TableCell> row{name(stage)};
    for (std::map<Stage, Worst>& unit : worst) {
      const Worst& one = unit[stage];
      row.insert(row.end(), {small(one.max), small(one.mean), ratio(one.noise)});
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace

Document whatif_report(const WhatIf& result) {
  Document document;
  add_header(result, document);
  document.push_back(units(result));
  document.push_back(Preformatted{kUnitsLegend});
  document.push_back(Heading{2, "Drift: relative L2 of x_out against the reference, mean over positions"});
  document.push_back(drift(result));
  document.push_back(Heading{2, "Bias of the sums: mean error of projections, ulp, +- its standard error"});
  document.push_back(bias(result));
  document.push_back(Preformatted{kBiasLegend});
  document.push_back(
      Paragraph{"d against the reference, r as above", "Stages of prefill, worst over layers"});
  constexpr size_t kAbreast = 3;
  const std::span all(result.units);
  for (size_t i = 0; i < all.size(); i += kAbreast)
    document.push_back(stages(all.subspan(i, std::min(kAbreast, all.size() - i))));
  return document;
}

}  // namespace greta::report

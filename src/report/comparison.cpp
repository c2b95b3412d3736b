#include "report/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <span>

#include "io/json_number.h"
#include "report/facts.h"

namespace greta::report {
namespace {

constexpr size_t kMostRows = 40;

std::string run_of(const StagePair& pair) { return name(pair.cell) + " " + pair.phase; }

/// Stages that say something: those that differ from equal inputs, and per run the first that differs at all.
std::vector<const StagePair*> worth_showing(const BundleComparison& result) {
  std::vector<const StagePair*> shown;
  const StagePair* before = nullptr;
  for (const StagePair& pair : result.pairs) {
    if (pair.status == PairStatus::equal) continue;
    const bool same_run = before != nullptr && before->cell == pair.cell && before->phase == pair.phase;
    if (pair.status != PairStatus::propagated || !same_run) shown.push_back(&pair);
    before = &pair;
  }
  return shown;
}

/// Runs that are alike at one stage, and the layers in which all of them are.
struct Group {
  const StagePair* first;
  std::set<std::string> runs;
  std::vector<int> layers;
  double rel_l2 = 0, max_abs = 0, noise_ratio = 0;  // the largest of them
};

void widen(Group& group, double rel_l2, double max_abs, double noise_ratio) {
  group.rel_l2 = std::max(group.rel_l2, rel_l2);
  group.max_abs = std::max(group.max_abs, max_abs);
  group.noise_ratio = std::max(group.noise_ratio, noise_ratio);
}

bool are_alike(const StagePair& a, const StagePair& b) {
  return a.stage == b.stage && a.status == b.status && a.why == b.why;
}

std::vector<Group> over_layers(std::vector<Group> groups) {
  std::vector<Group> wide;
  for (Group& group : groups) {
    const auto same = std::find_if(wide.begin(), wide.end(), [&](const Group& other) {
      return are_alike(*other.first, *group.first) && other.runs == group.runs;
    });
    if (same == wide.end()) {
      wide.push_back(std::move(group));
      continue;
    }
    same->layers.push_back(group.layers.front());
    widen(*same, group.rel_l2, group.max_abs, group.noise_ratio);
  }
  return wide;
}

/// What is wrong before what is not, else in the order of the runs.
std::vector<Group> grouped(std::span<const StagePair* const> pairs) {
  std::vector<Group> groups;
  for (const StagePair* pair : pairs) {
    auto group = std::find_if(groups.begin(), groups.end(), [pair](const Group& other) {
      return other.first->layer == pair->layer && are_alike(*other.first, *pair);
    });
    if (group == groups.end()) group = groups.insert(groups.end(), Group{pair, {}, {pair->layer}});
    group->runs.insert(run_of(*pair));
    widen(*group, pair->metrics.rel_l2, pair->metrics.max_abs, pair->noise_ratio);
  }
  groups = over_layers(std::move(groups));
  std::stable_partition(groups.begin(), groups.end(),
                        [](const Group& group) { return group.first->status == PairStatus::fault; });
  return groups;
}

std::string status_of(const StagePair& pair) {
  return pair.status == PairStatus::missing ? "NOT JUDGED" : std::string(name(pair.status));
}

/// "0-29"; how many, where that would be long.
std::string layers_of(const Group& group) {
  const std::string ranges = layer_ranges(group.layers);
  return ranges.size() <= 8 ? ranges : fmt::format("{} of them", group.layers.size());
}

Table table_of(std::span<const Group> groups) {
  Table table{{{.head = "first run", .least = 18},
               {.head = "runs", .align = Align::right, .least = 4},
               {.head = "L", .align = Align::right, .least = 5},
               {.head = "stage", .least = 10},
               {.head = "status", .least = 10},
               {.head = "rel L2", .align = Align::right, .least = 9},
               {.head = "max abs", .align = Align::right, .least = 9},
               {.head = "noise", .align = Align::right, .least = 8}},
              {}};
  std::string said;  // the same note is said once
  for (const Group& group : groups) {
    const StagePair& first = *group.first;
    if (!first.why.empty() && first.why != said) table.notes[table.rows.size()] = {first.why};
    said = first.why;
    table.rows.push_back(
        {run_of(first), fmt::format("{}", group.runs.size()), layers_of(group), name(first.stage),
         status_of(first), fmt::format("{:.2e}", group.rel_l2), fmt::format("{:.2e}", group.max_abs),
         first.status == PairStatus::missing ? "-" : fmt::format("{:.2g}", group.noise_ratio)});
  }
  return table;
}

nlohmann::json to_json(const StagePair& pair) {
  nlohmann::json json = {{"cell", run_of(pair)},
                         {"layer", pair.layer},
                         {"stage", name(pair.stage)},
                         {"status", name(pair.status)},
                         {"mae", json_number(pair.metrics.mae)},
                         {"max_abs", json_number(pair.metrics.max_abs)},
                         {"rel_l2", json_number(pair.metrics.rel_l2)},
                         {"cosine", json_number(pair.metrics.cosine)},
                         {"max_ulp", pair.metrics.max_ulp},
                         {"noise_ratio_a", json_number(pair.noise_ratio_prefill)},
                         {"noise_ratio_b", json_number(pair.noise_ratio_decode)}};
  if (!pair.why.empty()) json["why"] = pair.why;
  return json;
}

/// Where they part, and how far it reaches: before any table.
std::string first_difference(const BundleComparison& result) {
  const StagePair* first = nullptr;
  std::set<int> layers;
  std::set<std::string> runs;
  for (const StagePair& pair : result.pairs) {
    const bool unseen = pair.status == PairStatus::missing && pair.metrics.bit_equal;
    if (pair.status == PairStatus::equal || unseen) continue;
    if (first == nullptr || (pair.status == PairStatus::fault && first->status != PairStatus::fault))
      first = &pair;
    layers.insert(pair.layer);
    runs.insert(run_of(pair));
  }
  if (first == nullptr) return "";
  const std::string layer = first->layer == kNoLayer ? "" : fmt::format("layer {} ", first->layer);
  return fmt::format("{}: first {}{} in {}; {} layers, {} runs differ", status_of(*first), layer,
                     name(first->stage), run_of(*first), layers.size(), runs.size());
}

}  // namespace

Document comparison_report(const BundleComparison& result) {
  Document document;
  const auto say = [&document](std::string sentence) { document.push_back(Paragraph{std::move(sentence)}); };
  const std::vector<Group> shown = grouped(worth_showing(result));
  if (const std::string first = first_difference(result); !first.empty()) say(first);
  if (!shown.empty()) document.push_back(table_of(std::span(shown).first(std::min(shown.size(), kMostRows))));
  if (shown.size() > kMostRows)
    say(fmt::format("... and {} more (--json has all)", shown.size() - kMostRows));
  for (const std::string& run : result.only_a) say(fmt::format("only in A: {}", run));
  for (const std::string& run : result.only_b) say(fmt::format("only in B: {}", run));
  const auto equal = std::count_if(result.pairs.begin(), result.pairs.end(),
                                   [](const StagePair& pair) { return pair.status == PairStatus::equal; });
  say(fmt::format("{}: {} stages compared, {} equal, coverage {:.1f} %", name(result.status),
                  result.coverage.recorded, equal, result.coverage.percent()));
  return document;
}

nlohmann::json comparison_json(const BundleComparison& result) {
  nlohmann::json json = {{"schema", "greta.comparison/1"},
                         {"verdict", name(result.status)},
                         {"exit_code", exit_code(result.status)},
                         {"only_a", result.only_a},
                         {"only_b", result.only_b},
                         {"coverage",
                          {{"percent", result.coverage.percent()},
                           {"judged", result.coverage.judged},
                           {"propagated", result.coverage.propagated},
                           {"recorded", result.coverage.recorded},
                           {"skipped", result.coverage.skipped}}},
                         {"differences", nlohmann::json::array()}};
  for (const StagePair& pair : result.pairs) {
    if (pair.status != PairStatus::equal) json["differences"].push_back(to_json(pair));
  }
  return json;
}

}  // namespace greta::report

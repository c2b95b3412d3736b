#include "verdict/power_score.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/timing.h"

namespace greta {
namespace {

void add(const Detection& d, ClassScore& score) {
  ++score.runs;
  score.found += d.found;
  score.right_phase += d.right_phase;
  score.right_place += d.right_place;
  score.named += d.naming == Naming::right;
  score.among += d.naming == Naming::among;
  score.wrong += d.naming == Naming::wrong;
  if (d.expected.empty()) return;
  score.has_name = true;
  const bool by_values = d.explained_residual != 0;  // a flag explains no values
  if (d.naming == Naming::right && by_values)
    score.least_explained = std::min(score.least_explained.value_or(1), d.explained_residual);
}

std::string said(const Detection& d) {
  if (!d.found) return "nothing found";
  if (!d.right_place) return "nothing found at its place";
  std::string text = d.named;
  if (!d.expected.empty() && d.naming != Naming::right) text += ", not " + d.expected;
  if (!d.right_phase) text += "; another phase";
  return text;
}

bool is_as_it_should_be(const Detection& d) {
  return d.right_place && d.right_phase && d.naming == Naming::right && d.others == 0;
}

int count_if(const std::vector<Detection>& some, bool (*is)(const Detection&)) {
  return static_cast<int>(std::count_if(some.begin(), some.end(), is));
}

std::vector<Detection> those_that_act(const std::vector<Detection>& all) {
  std::vector<Detection> some;
  std::copy_if(all.begin(), all.end(), std::back_inserter(some), [](const Detection& d) { return d.acts; });
  return some;
}

bool is_named(const Detection& d) { return d.naming == Naming::right; }

void add_singles(const std::vector<Detection>& acting, std::vector<Total>& totals) {
  std::vector<Detection> with_name, without;
  for (const Detection& d : acting) (d.expected.empty() ? without : with_name).push_back(d);
  const int n = static_cast<int>(acting.size());
  totals.push_back({"single faults found", count_if(acting, [](const Detection& d) { return d.found; }), n});
  totals.push_back(
      {"in the right phase", count_if(acting, [](const Detection& d) { return d.right_phase; }), n});
  totals.push_back({"in the right layer and stage",
                    count_if(acting, [](const Detection& d) { return d.right_place; }), n});
  totals.push_back({"rightly named, of those that have a hypothesis", count_if(with_name, is_named),
                    static_cast<int>(with_name.size()), 97});
  totals.push_back({"called unexplained, of those that have none", count_if(without, is_named),
                    static_cast<int>(without.size())});
}

void add_stacks(const std::vector<StackedDetection>& stacks, std::vector<Total>& totals) {
  Total listed{.what = "listed, of the faults in pairs and triples", .required = 95};
  for (const StackedDetection& stack : stacks) {
    listed.of += static_cast<int>(stack.faults.size());
    listed.good += count_if(stack.faults, [](const Detection& d) { return d.right_place && d.right_phase; });
  }
  totals.push_back(listed);
}

void add_wrongs(const PowerResult& result, const std::vector<Detection>& acting, std::vector<Total>& totals) {
  const auto is_wrong = [](const Detection& d) { return d.naming == Naming::wrong; };
  Total wrong{.what = "named wrongly", .required = 0, .must_be_zero = true};
  Total alarms{.what = "false alarms beside injected faults", .required = 0, .must_be_zero = true};
  Total clean{.what = "false alarms in clean runs", .required = 0, .must_be_zero = true};
  wrong.good = count_if(acting, is_wrong);
  wrong.of = alarms.of = static_cast<int>(acting.size());
  for (const Detection& d : acting) alarms.good += d.others > 0;
  for (const StackedDetection& stack : result.stacks) {
    wrong.good += count_if(stack.faults, is_wrong);
    wrong.of += static_cast<int>(stack.faults.size());
    alarms.good += stack.others > 0;
    ++alarms.of;
  }
  for (const CleanRun& run : result.clean) {
    clean.good += !run.good();
    ++clean.of;
  }
  for (const Total& total : {wrong, alarms, clean}) totals.push_back(total);
}

}  // namespace

std::string_view name(Naming naming) {
  switch (naming) {
    case Naming::right: return "right";
    case Naming::among: return "ambiguous";
    case Naming::unexplained: return "unexplained";
    case Naming::wrong: return "wrong";
  }
  return "";
}

std::vector<ClassScore> score_classes(const std::vector<Detection>& singles) {
  std::vector<ClassScore> scores;
  std::map<std::string, size_t> index;
  std::map<std::string, std::vector<double>> seconds;
  for (const Detection& d : those_that_act(singles)) {
    const auto [at, is_new] = index.try_emplace(d.fault_class, scores.size());
    if (is_new) scores.push_back({.fault_class = d.fault_class});
    add(d, scores[at->second]);
    seconds[d.fault_class].push_back(d.seconds);
  }
  for (ClassScore& score : scores) score.median_seconds = median(seconds[score.fault_class]);
  return scores;
}

bool Total::holds() const {
  if (must_be_zero) return good == 0;
  return 100 * good >= required * of;
}

std::vector<Total> totals_of(const PowerResult& result) {
  const std::vector<Detection> acting = those_that_act(result.singles);
  std::vector<Total> totals;
  add_singles(acting, totals);
  add_stacks(result.stacks, totals);
  add_wrongs(result, acting, totals);
  std::erase_if(totals, [](const Total& total) { return total.of == 0; });
  return totals;
}

bool all_hold(const std::vector<Total>& totals) {
  return std::all_of(totals.begin(), totals.end(), [](const Total& total) { return total.holds(); });
}

std::vector<std::string> misses_of(const PowerResult& result) {
  std::vector<std::string> lines;
  const auto other = [](int n) { return n == 0 ? "" : fmt::format("; {} findings elsewhere", n); };
  for (const Detection& d : result.singles) {
    if (!d.acts) {
      lines.push_back(d.fault + ": not counted: it changed no recorded value");
    } else if (!is_as_it_should_be(d)) {
      lines.push_back(fmt::format("{}: {}{}", d.fault, said(d), other(d.others)));
    }
  }
  for (const std::string& why : result.impossible) lines.push_back("not counted: " + why);
  for (const StackedDetection& stack : result.stacks) {
    std::string faults;
    for (const Detection& d : stack.faults) faults += (faults.empty() ? "" : " + ") + d.fault;
    for (const Detection& d : stack.faults) {
      if (!d.right_place || !d.right_phase || d.naming != Naming::right)
        lines.push_back(fmt::format("{} (in {}): {}", d.fault, faults, said(d)));
    }
    if (stack.others > 0) lines.push_back(faults + other(stack.others));
  }
  for (const CleanRun& run : result.clean) {
    if (run.good()) continue;
    lines.push_back(fmt::format("clean {}, {} route, {} threads, {}: {}, {} findings", run.prompt, run.route,
                                run.threads, run.isa, name(run.status), run.findings));
  }
  return lines;
}

}  // namespace greta

#include "report/outcome.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "report/comparison.h"
#include "report/writer.h"

namespace greta::report {
namespace {

using Case = Outcome::Case;
using State = Outcome::Case::State;

/// What several layers and phases make of a case: a failure outweighs what is missing, and that what passed.
class Cases {
 public:
  void add(const std::string& suite, const std::string& name, State state, const std::string& message) {
    const auto [at, fresh] = index_.try_emplace({suite, name}, cases_.size());
    if (fresh) cases_.push_back({suite, name, State::passed, ""});
    Case& one = cases_[at->second];
    if (weight(state) > weight(one.state)) {
      one.state = state;
      one.message = message;
    } else if (state == one.state && state != State::passed && std::ssize(one.message) < kLongest) {
      one.message += "; " + message;
    }
  }
  std::vector<Case> take() { return std::move(cases_); }

 private:
  static constexpr std::ptrdiff_t kLongest = 2000;
  static int weight(State state) { return state == State::failed ? 2 : state == State::unmeasured ? 1 : 0; }
  std::map<std::pair<std::string, std::string>, size_t> index_;
  std::vector<Case> cases_;
};

std::string at_layer(int layer) {
  return layer == kNoLayer ? "outside the layers" : fmt::format("L{}", layer);
}

void add_pair(const StagePair& pair, const std::string& suite, Cases& cases) {
  const State state = pair.status == PairStatus::fault     ? State::failed
                      : pair.status == PairStatus::missing ? State::unmeasured
                                                           : State::passed;
  std::string message;
  if (state == State::failed)
    message = fmt::format("{}: noise ratio {}", at_layer(pair.layer), brief(pair.noise_ratio));
  if (state == State::unmeasured) message = fmt::format("{}: {}", at_layer(pair.layer), pair.why);
  cases.add(suite, std::string(name(pair.stage)), state, message);
}

/// What has no pair stands on the map alone.
void add_noise(const StageNoise& noise, Cases& cases) {
  cases.add(
      fmt::format("{}", name(noise.phase)), std::string(name(noise.stage)),
      noise.ratio <= 1 ? State::passed : State::failed,
      noise.ratio <= 1 ? "" : fmt::format("{}: noise ratio {}", at_layer(noise.layer), brief(noise.ratio)));
}

std::string kernel_of(const Verdict& verdict, const Finding& finding) {
  for (const StageNoise& noise : verdict.noise) {
    if (noise.layer == finding.layer && noise.stage == finding.stage &&
        concerns(finding.phase, noise.phase) && noise.ratio > 1)
      return noise.kernel;
  }
  return "";
}

/// Where it was written, or what was judged.
const std::string& source_of(const Verdict& verdict) {
  return verdict.directory.empty() ? verdict.bundle : verdict.directory;
}

/// "L0-29/q,k+out/logits".
std::string places_of(const FindingGroup& group) {
  std::string text, last;
  for (const FindingGroup::Place& place : group.places) {
    const std::string layers = place.layers.empty() ? "out" : "L" + layer_ranges(place.layers);
    if (layers != last) text += (text.empty() ? "" : "+") + layers + "/";
    text += (layers == last ? "," : "") + std::string(name(place.stage));
    last = layers;
  }
  return text;
}

Outcome::Result result_of(const Report& report, const Writer& writer, size_t index) {
  const FindingGroup& group = report.facts.findings[index];
  const Finding& finding = group.first;
  Outcome::Result result{.rule = std::string(finding.hypothesis()),
                         .place = fmt::format("{}/{}", name(finding.phase), places_of(group)),
                         .message = writer.place(group) + ": " + writer.finding_brief(group).front(),
                         .kernel = kernel_of(report.verdict, finding),
                         .noise_ratio = finding.noise_ratio};
  result.facts = fmt::format("residual={} proof={}", residual(finding.explained_residual),
                             group.interventions == 0                 ? "none"
                             : group.confirmed == group.interventions ? "confirmed"
                                                                      : "failed");
  const std::string& where = source_of(report.verdict);
  result.next = fmt::format("greta repro {} {} --out repro-{}", where, index + 1, index + 1);
  return result;
}

}  // namespace

Outcome outcome_of(const Report& report) {
  const Verdict& verdict = report.verdict;
  const Writer writer(report, Language::english);
  Outcome outcome{.subject = verdict.model_name.empty() ? verdict.model_file : verdict.model_name,
                  .source = source_of(verdict),
                  .version = GRETA_VERSION,
                  .status = verdict.status,
                  .headline = writer.headline(),
                  .coverage = verdict.coverage};
  for (size_t i = 0; i < report.facts.findings.size(); ++i)
    outcome.results.push_back(result_of(report, writer, i));
  for (const Flag& flag : verdict.flags) {
    outcome.results.push_back({.level = Outcome::Level::warning,
                               .rule = std::string(name(flag.kind)),
                               .place = name(flag.cell),
                               .message = flag.why,
                               .next = "greta diagnose --help"});
  }
  Cases cases;
  for (const StagePair& pair : verdict.pairs) add_pair(pair, name(pair.cell), cases);
  if (verdict.pairs.empty()) {
    for (const StageNoise& noise : verdict.noise) add_noise(noise, cases);
  }
  outcome.cases = cases.take();
  outcome.summary = markdown(report, Language::english);
  return outcome;
}

Outcome outcome_of(const BundleComparison& comparison, const std::string& a, const std::string& b) {
  Outcome outcome{.subject = fmt::format("{} against {}", a, b),
                  .source = b,
                  .version = GRETA_VERSION,
                  .status = comparison.status,
                  .headline = fmt::format("{} against {}: {}", a, b, name(comparison.status)),
                  .coverage = comparison.coverage};
  Cases cases;
  std::map<Stage, size_t> faults;
  for (const StagePair& pair : comparison.pairs) {
    add_pair(pair, fmt::format("{}/{}", name(pair.cell), pair.phase), cases);
    if (pair.status != PairStatus::fault) continue;
    if (++faults[pair.stage] > 1) continue;  // one result a stage: its first
    outcome.results.push_back({.rule = "differs",
                               .place = fmt::format("{}/{}/{}/{}", name(pair.cell), pair.phase,
                                                    at_layer(pair.layer), name(pair.stage)),
                               .message = fmt::format("{} of {} first differs here by more than rounding: {}",
                                                      name(pair.stage), at_layer(pair.layer), pair.why),
                               .noise_ratio = pair.noise_ratio,
                               .facts = fmt::format("rel_l2={:.2e}", pair.metrics.rel_l2),
                               .next = fmt::format("greta diagnose {} -m MODEL", b)});
  }
  outcome.cases = cases.take();
  outcome.summary = to_markdown(comparison_report(comparison));
  return outcome;
}

}  // namespace greta::report

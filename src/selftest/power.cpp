#include "selftest/power.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "base/timing.h"
#include "experiment/confirm.h"
#include "judge/judge.h"
#include "record/matrix.h"

namespace greta {
namespace {

bool is_in_phase(Phases phase, const FaultSpec& spec) {
  return phase == (spec.phase ? only(*spec.phase) : Phases::both);
}

bool is_at(const Finding& finding, const FaultSpec& spec) {
  const bool stage = finding.stage == spec.fault->stage || finding.stage == spec.fault->also_stage;
  return stage && (is_outside_layers(finding.stage) || !spec.layer || finding.layer == *spec.layer);
}

bool differs(const Bundle& a, const Bundle& b) {
  std::map<std::tuple<std::string, std::string, int, std::string>, std::string> hashes;
  for (const Event& e : a.events) hashes[{e.cell, e.phase, e.layer, e.stage}] = e.hash;
  return std::any_of(b.events.begin(), b.events.end(), [&](const Event& e) {
    return hashes[{e.cell, e.phase, e.layer, e.stage}] != e.hash;
  });
}

Naming naming_of(const Finding& finding, const std::string& expected) {
  switch (finding.cause) {
    case Cause::unexplained: return expected.empty() ? Naming::right : Naming::unexplained;
    case Cause::named: return finding.best == expected ? Naming::right : Naming::wrong;
    case Cause::ambiguous: break;
  }
  const bool among = finding.best == expected || finding.runner_up == expected;
  return !expected.empty() && among ? Naming::among : Naming::wrong;
}

void describe(const Finding& finding, const FaultSpec& spec, Detection& detection) {
  detection.right_place = true;
  detection.right_phase = is_in_phase(finding.phase, spec);
  detection.naming = naming_of(finding, detection.expected);
  detection.named = finding.cause == Cause::ambiguous ? finding.best + " or " + finding.runner_up
                                                      : std::string(finding.hypothesis());
  detection.title = finding.title.en;
  detection.explained_residual = finding.explained_residual;
  detection.noise_ratio = finding.noise_ratio;
}

bool all_listed(const StackedDetection& run) {
  return std::all_of(run.faults.begin(), run.faults.end(),
                     [](const Detection& d) { return d.right_place && d.right_phase; });
}

StackedDetection listed(const std::vector<FaultSpec>& specs, const Verdict& verdict) {
  StackedDetection run;
  for (const FaultSpec& spec : specs) run.faults.push_back(held_against(spec, verdict));
  run.others = static_cast<int>(
      std::count_if(verdict.findings.begin(), verdict.findings.end(), [&](const Finding& finding) {
        return std::none_of(specs.begin(), specs.end(), [&](const FaultSpec& spec) {
          return is_at(finding, spec) && is_in_phase(finding.phase, spec);
        });
      }));
  return run;
}

std::vector<int> all_layers(const Engine& engine) {
  std::vector<int> layers;
  for (int layer = 0; layer < engine.model().config.n_layer; ++layer) layers.push_back(layer);
  return layers;
}

}  // namespace

Detection held_against(const FaultSpec& spec, const Verdict& verdict) {
  Detection detection;
  detection.fault = spec.text;
  detection.fault_class = spec.fault->fault_class;
  detection.expected = spec.fault->hypothesis;
  detection.found = !verdict.findings.empty();
  const Finding* best = nullptr;  // at the place; rather one of the right phase
  for (const Finding& finding : verdict.findings) {
    const bool at = is_at(finding, spec);
    detection.others += !(at && is_in_phase(finding.phase, spec));
    if (at && (best == nullptr || (!is_in_phase(best->phase, spec) && is_in_phase(finding.phase, spec))))
      best = &finding;
  }
  if (best != nullptr) describe(*best, spec, detection);
  return detection;
}

PowerTest::PowerTest(Engine& engine, std::vector<Prompt> prompts, RouteTable routes)
    : engine_(engine),
      prompts_(std::move(prompts)),
      routes_(std::move(routes)),
      clean_(record_matrix(engine_, request({}, "E0"))) {}

MatrixRequest PowerTest::request(const std::vector<FaultSpec>& specs, const std::string& experiments) const {
  return {.experiments = parse_experiments(experiments),
          .prompts = prompts_,
          .layers = all_layers(engine_),
          .routes = routes_,
          .change = fault_change(engine_, specs)};
}

Detection PowerTest::single(const FaultSpec& spec) const {
  const Stopwatch clock;
  const Bundle bundle = record_matrix(engine_, request({spec}, "E0"));
  Detection detection =
      held_against(spec, judge(bundle, engine_.model(), {.threads = engine_.options().threads}));
  detection.seconds = clock.seconds();
  detection.acts = differs(clean_, bundle);
  return detection;
}

Detection PowerTest::ignored_routes(const FaultSpec& spec) const {
  const Stopwatch clock;
  const Bundle bundle = record_matrix(engine_, request({spec}, "E1,E2"));
  const Verdict verdict = judge(bundle, engine_.model(), {.threads = engine_.options().threads});
  Detection detection;
  detection.seconds = clock.seconds();
  detection.fault = spec.text;
  detection.fault_class = spec.fault->fault_class;
  detection.expected = name(FlagKind::inert_factor);
  detection.acts = differs(record_matrix(engine_, request({}, "E1,E2")), bundle);
  detection.others = static_cast<int>(verdict.findings.size());
  for (const Flag& flag : verdict.flags) {
    if (flag.kind != FlagKind::inert_factor || !detection.named.empty()) continue;
    detection.found = detection.right_place = detection.right_phase = true;
    detection.naming = Naming::right;
    detection.named = name(flag.kind);
    detection.title = flag.why;
  }
  return detection;
}

StackedDetection PowerTest::stacked(const std::vector<FaultSpec>& specs) const {
  const Stopwatch clock;
  const MatrixRequest wanted = request(specs, "E0");
  KnownJudgements known;
  Verdict verdict = judge(record_matrix(engine_, wanted), engine_.model(),
                          {.threads = engine_.options().threads, .known = &known});
  StackedDetection run = listed(specs, verdict);
  if (!all_listed(run)) {
    verdict.findings =
        confirm(engine_, wanted, std::move(verdict.findings), &known, [](const std::string&) {});
    run = listed(specs, verdict);
    run.confirmed = true;
  }
  run.seconds = clock.seconds();
  return run;
}

CleanRun clean_run(Engine& engine, const Prompt& prompt, const std::string& route, const RouteTable& routes) {
  const Stopwatch clock;
  const EngineOptions& options = engine.options();
  const Bundle bundle = record_matrix(engine, {.experiments = parse_experiments("E0"),
                                               .prompts = {prompt},
                                               .layers = all_layers(engine),
                                               .routes = routes});
  const Verdict verdict = judge(bundle, engine.model(), {.threads = options.threads});
  CleanRun run{.prompt = prompt.id,
               .route = route,
               .isa = std::string(name(options.isa)),
               .tokens = std::ssize(prompt.tokens),
               .threads = options.threads,
               .findings = static_cast<int>(verdict.findings.size()),
               .status = verdict.status,
               .coverage = verdict.coverage.percent()};
  for (const StageNoise& noise : verdict.noise) {
    if (noise.ratio < run.noise_ratio) continue;
    run.noise_ratio = noise.ratio;
    run.noisiest = name(noise.stage);
  }
  run.seconds = clock.seconds();
  return run;
}

}  // namespace greta

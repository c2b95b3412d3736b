#include "isolate/detection.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <tuple>

#include "isolate/judge.h"
#include "trace/manifest.h"
#include "trace/recording.h"

namespace greta::isolate {
namespace {

std::string phase_of(const FaultSpec& spec) {
  if (!spec.phase) return "both";
  return *spec.phase == Phase::prefill ? "prefill" : "decode";
}

bool is_at(const Finding& finding, const FaultSpec& spec) {
  const bool stage = finding.stage == spec.fault->stage || finding.stage == spec.fault->also_stage;
  const bool layer = is_outside_layers(finding.stage) || !spec.layer || finding.layer == *spec.layer;
  const std::string phase = phase_of(spec);
  return stage && layer && (phase == "both" || finding.phase == "both" || finding.phase == phase);
}

bool differs(const trace::Bundle& a, const trace::Bundle& b) {
  std::map<std::tuple<std::string, std::string, int, std::string>, std::string> hashes;
  for (const trace::Event& e : a.events) hashes[{e.cell, e.phase, e.layer, e.stage}] = e.hash;
  return std::any_of(b.events.begin(), b.events.end(), [&](const trace::Event& e) {
    return hashes[{e.cell, e.phase, e.layer, e.stage}] != e.hash;
  });
}

}  // namespace

PowerTest::PowerTest(Engine& engine, std::vector<MatrixPrompt> prompts, int threads)
    : engine_(engine),
      prompts_(std::move(prompts)),
      threads_(threads),
      clean_(run({}, {}, prompts_).bundle) {}

PowerTest::Outcome PowerTest::run(const std::vector<FaultSpec>& specs, const RouteTable& routes,
                                  const std::vector<MatrixPrompt>& prompts) const {
  const auto start = std::chrono::steady_clock::now();
  MatrixRequest request;
  request.experiments = parse_experiments("E0");
  request.prompts = prompts;
  for (int layer = 0; layer < engine_.model().config.n_layer; ++layer) request.layers.push_back(layer);
  request.routes = routes;
  request.faults = specs;
  trace::ManifestInfo info;
  for (const MatrixPrompt& prompt : prompts) info.prompts.push_back({prompt.id, prompt.text, prompt.tokens});
  for (const Experiment& experiment : request.experiments) info.experiments.push_back(to_json(experiment));
  trace::Recording recording(trace::make_manifest(engine_, info), nullptr, trace::Keep::none, 0);
  Matrix(engine_, request)
      .run({.event = [&](trace::Event event,
                         std::span<const float> values) { recording.write(std::move(event), values); },
            .end_run = [] {},
            .step = [](int, int, const std::string&) {}});
  Outcome outcome{recording.bundle(), judge(recording.bundle(), engine_.model(), threads_), 0};
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return outcome;
}

Detection PowerTest::compare(const FaultSpec& spec, const Outcome& outcome) const {
  Detection result;
  result.fault = spec.text;
  result.fault_class = spec.fault->fault_class;
  result.expected = spec.fault->hypothesis;
  result.found = !outcome.verdict.findings.empty();
  result.seconds = outcome.seconds;
  for (const Finding& finding : outcome.verdict.findings) {
    if (!is_at(finding, spec) || !result.named.empty()) {
      result.others += !is_at(finding, spec);
      continue;
    }
    result.right_place = true;
    result.first = &finding == &outcome.verdict.findings.front();
    result.right_phase = phase_of(spec) == "both" || finding.phase == phase_of(spec);
    result.named = finding.hypothesis;
    result.explained_residual = finding.explained_residual;
    result.noise_ratio = finding.noise_ratio;
    const bool no_name = finding.hypothesis == "unexplained" || finding.hypothesis == "ambiguous";
    result.right_name = result.expected.empty() ? no_name : finding.hypothesis == result.expected;
    result.wrong_name = !no_name && !result.right_name;
  }
  return result;
}

Detection PowerTest::single(const FaultSpec& spec) const {
  const Outcome outcome = run({spec}, {}, prompts_);
  Detection result = compare(spec, outcome);
  result.acts = differs(clean_, outcome.bundle);
  return result;
}

StackedDetection PowerTest::stacked(const std::vector<FaultSpec>& specs) const {
  const Outcome outcome = run(specs, {}, prompts_);
  StackedDetection result;
  for (const FaultSpec& spec : specs) result.faults.push_back(compare(spec, outcome));
  for (const Finding& finding : outcome.verdict.findings) {
    result.others +=
        std::none_of(specs.begin(), specs.end(), [&](const FaultSpec& s) { return is_at(finding, s); });
  }
  return result;
}

CleanRun PowerTest::clean(const std::string& what, const RouteTable& routes,
                          const std::vector<MatrixPrompt>& prompts) const {
  const Outcome outcome = run({}, routes, prompts);
  CleanRun result;
  result.what = what;
  result.findings = static_cast<int>(outcome.verdict.findings.size());
  result.coverage = outcome.verdict.coverage.percent();
  for (const StageNoise& noise : outcome.verdict.noise)
    result.noise_ratio = std::max(result.noise_ratio, noise.ratio);
  return result;
}

}  // namespace greta::isolate

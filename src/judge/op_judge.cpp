#include "judge/op_judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "base/parallel.h"
#include "judge/arithmetic.h"
#include "judge/op_stage.h"
#include "numerics/noise.h"

namespace greta {
namespace {

/// What became of one recording of an op.
struct Measured {
  double ratio = 0;
  bool wrong = false;
  std::string why = {};  // it was not measured
  std::string arithmetic = {}, hypothesis = {};
  Text title = {};
  double explained_residual = 0;
};

/// Results are rounded to what holds them, unless the kernel says otherwise.
Roundings declared_roundings(const Bundle& bundle, const Event& event) {
  Roundings roundings = declared_arithmetic(bundle.manifest, event.kernel).roundings;
  const Format held = format_from_name(event.dtype).value_or(Format::f32);
  if (bounds::unit_roundoff(held) > bounds::unit_roundoff(roundings.output)) roundings.output = held;
  // Who says nothing may hold all in it, as most norms and rotations in bf16 do.
  if (!is_declared(bundle.manifest, event.kernel)) roundings.between = roundings.output;
  return roundings;
}

Measured measure(const OpRecord& op, const Roundings& roundings) {
  const OpExpected solved = solve_op(op, roundings);
  const NoiseRatio ratio = noise_ratio(solved.observed, solved.expected);
  Measured measured{.ratio = ratio.max, .wrong = ratio.max > 1};
  if (measured.wrong) measured.hypothesis = "unexplained";
  if (ratio.untold == std::ssize(solved.observed)) measured.why = kNothingTold;
  return measured;
}

/// Attention in one kernel reads queries and weights in f16 or bf16 on most devices, and sums in f16 on some.
std::vector<Roundings> coarser_attention(const Roundings& exact) {
  std::vector<Roundings> all{exact};
  for (const auto& [activation, accumulator] :
       {std::pair{Format::f16, Format::f32}, {Format::f16, Format::f16}, {Format::bf16, Format::f32}}) {
    all.push_back(exact);
    all.back().activation = activation;
    all.back().accumulator = accumulator;
  }
  return all;
}

/// The most exact arithmetic that explains at least half of a kernel's recordings, if the default does not.
void measure_attention(const Bundle& bundle, const std::vector<OpRecord>& records,
                       const std::vector<size_t>& of_kernel, std::vector<Measured>& measured) {
  const Roundings exact = declared_roundings(bundle, *records[of_kernel.front()].event);
  const bool declared = is_declared(bundle.manifest, records[of_kernel.front()].event->kernel);
  std::vector<Measured> first;
  for (const Roundings& roundings : declared ? std::vector{exact} : coarser_attention(exact)) {
    std::vector<Measured> tried;
    for (const size_t i : of_kernel) tried.push_back(measure(records[i], roundings));
    const auto wrong = std::ranges::count_if(tried, &Measured::wrong);
    const bool explains = 2 * wrong <= std::ssize(tried);
    if (first.empty()) first = tried;
    if (!explains) continue;
    if (!(roundings == exact)) {
      Declared as;
      as.roundings = roundings;
      for (Measured& one : tried) one.arithmetic = describe(as);
    }
    first = std::move(tried);
    break;
  }
  for (size_t i = 0; i < of_kernel.size(); ++i) measured[of_kernel[i]] = std::move(first[i]);
}

/// The ops by themselves.
void measure_alone(const Bundle& bundle, const std::vector<OpRecord>& records, int threads,
                   std::vector<Measured>& measured) {
  std::map<std::pair<std::string, std::string>, std::vector<size_t>> attention;  // by kernel and phase
  std::vector<size_t> others;
  for (size_t i = 0; i < records.size(); ++i) {
    const Event& event = *records[i].event;
    if (records[i].info->op == Op::flash_attention)
      attention[{event.kernel, event.phase}].push_back(i);
    else
      others.push_back(i);  // those of a stage's kind, too: what contradicts itself is told by their oracle
  }
  for (const auto& [kernel, of_kernel] : attention) measure_attention(bundle, records, of_kernel, measured);
  parallel_for(threads, others.size(), [&](size_t i) {
    const OpRecord& op = records[others[i]];
    measured[others[i]] = measure(op, declared_roundings(bundle, *op.event));
  });
}

/// A title's layers are what stands for them here; its weight is the op's.
std::string retold(std::string title, std::string_view layer, std::string_view weight,
                   const std::vector<std::string>& labels) {
  for (size_t at = title.find(layer); at != std::string::npos; at = title.find(layer, at)) {
    size_t number = 0, end = at + layer.size();
    while (end < title.size() && title[end] >= '0' && title[end] <= '9' && number < labels.size())
      number = 10 * number + static_cast<size_t>(title[end++] - '0');
    const bool known = end > at + layer.size() && number < labels.size();
    if (known) title.replace(at, end - at, labels[number]);
    at += known ? labels[number].size() : layer.size();  // a label may say "layer", too
  }
  if (const size_t at = title.find("Wgate"); at != std::string::npos) title.replace(at, 5, weight);
  return title;
}

/// Those that are a stage of the model made for them.
void measure_staged(const StagedOps& staged, const std::vector<OpRecord>& records,
                    const JudgeOptions& options, std::vector<Measured>& measured) {
  std::set<At> only;
  for (int layer = 0; layer < std::ssize(staged.of_layer); ++layer) only.insert({layer, staged.stage});
  const Verdict verdict = judge(staged.bundle, staged.model,
                                {.threads = options.threads, .causes = options.causes, .only = &only});
  for (int layer = 0; layer < std::ssize(staged.of_layer); ++layer) {
    for (const size_t i : staged.of_layer[static_cast<size_t>(layer)]) {
      const Seen seen = seen_from_name(records[i].event->phase);
      const auto in = [&](Phase phase) { return seen == Seen::other || phase_of(seen) == phase; };
      Measured& one = measured[i];
      bool found = false;
      for (const StageNoise& noise : verdict.noise) {
        if (noise.layer != layer || noise.stage != staged.stage || !in(noise.phase)) continue;
        found = true;
        one.ratio = std::max(one.ratio, noise.ratio);
      }
      for (const KernelArithmetic& kernels : verdict.arithmetic) {
        const bool has = std::ranges::find(kernels.stages, staged.stage) != kernels.stages.end();
        if (has && in(kernels.phase) && kernels.source == KernelArithmetic::Source::inferred)
          one.arithmetic = kernels.what;
      }
      for (const Finding& finding : verdict.findings) {
        const bool here = finding.layer == layer && finding.stage == staged.stage &&
                          (seen == Seen::other || concerns(finding.phase, phase_of(seen)));
        if (!here) continue;
        one.wrong = true;
        one.hypothesis = finding.hypothesis();
        if (finding.cause == Cause::named)
          one.title = {retold(finding.title.en, "layer ", "the weight", staged.labels),
                       retold(finding.title.es, "capa ", "el peso", staged.labels)};
        one.explained_residual = finding.explained_residual;
      }
      if (!found) {
        one.why = !verdict.flags.empty()             ? verdict.flags.front().why
                  : verdict.coverage.skipped.empty() ? "its rows tell nothing"
                                                     : verdict.coverage.skipped.front();
      }
    }
  }
}

void add(JudgedOp& op, const Measured& one) {
  ++op.recorded;
  op.wrong += one.wrong;
  if (!one.why.empty()) {
    ++op.unmeasured;
    op.why = one.why;
  }
  if (one.ratio >= op.noise_ratio && one.wrong) {
    op.hypothesis = one.hypothesis;
    op.title = one.title;
    op.explained_residual = one.explained_residual;
  }
  op.noise_ratio = std::max(op.noise_ratio, one.ratio);
  if (!one.arithmetic.empty()) op.arithmetic = one.arithmetic;
  op.status = op.wrong > 0 ? OpStatus::fault : op.unmeasured > 0 ? OpStatus::unmeasured : OpStatus::within;
}

}  // namespace

bool records_ops(const Bundle& bundle) {
  return std::ranges::any_of(bundle.events, [](const Event& event) { return !event.op.empty(); });
}

bool records_stages(const Bundle& bundle) {
  return std::ranges::any_of(bundle.events,
                             [](const Event& event) { return stage_from_name(event.stage).has_value(); });
}

std::vector<JudgedOp> judge_ops(const Bundle& bundle, const Model* model, const JudgeOptions& options) {
  const auto inputs = op_inputs(bundle);
  std::vector<OpRecord> records;
  std::vector<std::pair<const Event*, Measured>> told;  // in order
  std::vector<size_t> record_of;
  for (const Event& event : bundle.events) {
    if (event.op.empty()) continue;
    Measured not_measured;
    auto record = op_record(bundle, event, inputs, model, &not_measured.why);
    record_of.push_back(record ? records.size() : SIZE_MAX);
    if (record) records.push_back(std::move(*record));
    told.emplace_back(&event, std::move(not_measured));
  }
  std::vector<Measured> measured(records.size());
  measure_alone(bundle, records, options.threads, measured);
  for (const auto& staged : stage_ops(bundle, records)) measure_staged(*staged, records, options, measured);

  std::vector<JudgedOp> ops;
  std::map<std::tuple<std::string, std::string, std::string, std::string, int>, size_t> places;
  for (size_t i = 0; i < told.size(); ++i) {
    const Event& event = *told[i].first;
    const auto [it, fresh] =
        places.try_emplace({event.op, event.name, event.kernel, event.phase, event.layer}, ops.size());
    if (fresh) {
      JudgedOp op;
      op.op = event.op, op.name = event.name, op.kernel = event.kernel;
      op.phase = event.phase, op.layer = event.layer;
      ops.push_back(std::move(op));
    }
    add(ops[it->second], record_of[i] == SIZE_MAX ? told[i].second : measured[record_of[i]]);
  }
  return ops;
}

Verdict with_ops(Verdict verdict, std::vector<JudgedOp> ops, bool stages) {
  verdict.ops = std::move(ops);
  if (verdict.ops.empty()) return verdict;
  const auto some = [&](OpStatus status) {
    return std::ranges::any_of(verdict.ops, [&](const JudgedOp& op) { return op.status == status; });
  };
  if (!stages) verdict.status = RunStatus::rounding;
  if (some(OpStatus::fault))
    verdict.status = RunStatus::fault;
  else if (some(OpStatus::unmeasured) && is_clean(verdict.status))
    verdict.status = RunStatus::inconclusive;
  return verdict;
}

}  // namespace greta

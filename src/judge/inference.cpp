#include "judge/inference.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <tuple>

#include "numerics/activation.h"

namespace greta {
namespace {

constexpr int kTried = 12;   // stages of a class, from the first layer to the last
constexpr size_t kRows = 3;  // of each

using enum Format;

Declared rounded(Format activation, Format weight, Format accumulator, Format output) {
  Declared declared;
  declared.roundings.activation = activation;
  declared.roundings.weight = weight;
  declared.roundings.accumulator = accumulator;
  declared.roundings.output = output;
  if (bounds::unit_roundoff(output) > bounds::kU) declared.roundings.between = output;
  return declared;
}

/// A power by __log2f, 2^-22 off, for every pair's angle: 4u of it per pair (ggml-cuda/rope.cu).
Declared with_fast_math(double angle_growth) {
  Declared declared;
  declared.angle_rounding = 4 * bounds::kU;
  declared.roundings.fast_math = true;
  declared.angle_growth = angle_growth;
  return declared;
}

/// Stored as integers with scales.
bool has_codes(TensorType type) {
  return type != TensorType::f32 && type != TensorType::f16 && type != TensorType::bf16;
}

std::vector<Declared> of_products(TensorType weight) {
  std::vector<Declared> all;
  if (has_codes(weight)) {
    // A minimum beside a block of 32 codes: its own sum (base/rounding.h).
    const bool has_sum = weight == TensorType::q4_1 || weight == TensorType::q5_1;
    all.push_back(rounded(q8_block32, f32, f32, f32));
    if (has_sum) {
      all.push_back(rounded(q8_1_sum, f32, f32, f32));
      all.push_back(rounded(q8_1, f32, f32, f32));
      // Both scales are multiplied in f16 (ggml-cuda/vecdotq.cuh, FAST_FP16_AVAILABLE).
      all.push_back(rounded(q8_1_sum, f32, f32, f32));
      all.back().roundings.between = f16;
    } else {
      all.push_back(rounded(q8_0, f32, f32, f32));
      all.push_back(rounded(q8_k, f32, f32, f32));
    }
  }
  for (const Format format : {f16, bf16}) {
    all.push_back(rounded(format, f32, f32, f32));
    all.push_back(rounded(format, format, f32, f32));
    all.push_back(rounded(format, format, f32, format));
    if (weight == TensorType::f16 && format == f16) all.push_back(rounded(f16, f16, f16, f16));
  }
  return all;
}

/// From the most exact to the least; f32 by the defaults is tried before.
std::vector<Declared> candidates(const KernelClass& kernels) {
  switch (kernels.kind) {
    case StageKind::projection: return of_products(*kernels.weight);
    case StageKind::scores:
    case StageKind::mix:
      return {rounded(f16, f32, f32, f32),   rounded(bf16, f32, f32, f32),  rounded(q8_0, f32, f32, f32),
              rounded(f16, f32, f32, f16),   rounded(f16, f32, f16, f32),   rounded(f16, f32, f16, f16),
              rounded(bf16, f32, f32, bf16), rounded(bf16, f32, bf16, bf16)};
    case StageKind::rope:
      return {with_iterated_angles(), with_fast_math(4 * bounds::kU), rounded(f16, f32, f32, f16),
              rounded(bf16, f32, f32, bf16)};
    case StageKind::weights:
      return {with_fast_math(0), rounded(f32, f32, f32, f16), rounded(f32, f32, f32, bf16)};
    case StageKind::product:
      return {with_fast_math(0), rounded(f16, f32, f32, f32), rounded(f16, f32, f32, f16),
              rounded(bf16, f32, f32, bf16)};
    case StageKind::embedding:
    case StageKind::norm:
    case StageKind::head_norm:
    case StageKind::sum:
      return {rounded(f32, f32, f32, f16), rounded(f32, f32, f32, bf16), rounded(f16, f32, f32, f16),
              rounded(bf16, f32, f32, bf16)};
    case StageKind::cache: return {};
  }
  return {};
}

/// What else the stages of a class, which are declared alike or not at all, may be.
std::vector<Declared> candidates_of(const KernelClass& kernels, const Declared& declared) {
  if (!may_be_stored(declared)) return candidates(kernels);
  Declared stored = declared;
  stored.roundings.activation = q8_0_stored;
  return {stored};
}

/// A recorded stage and what the oracle made of it by default.
struct Tried {
  const PhaseRecord* phase;
  At at;
  bool convicted;
  int64_t worst;  // the position that is farthest outside its bound
};

/// n of them, evenly from the first to the last.
template <class T>
std::vector<T> some_of(const std::vector<T>& all, size_t n) {
  if (all.size() <= n) return all;
  std::vector<T> some;
  for (size_t i = 0; i < n; ++i) some.push_back(all[i * (all.size() - 1) / (n - 1)]);
  return some;
}

/// A few rows of a stage, as a problem whose arithmetic can be exchanged.
std::vector<Subject> subjects_of(const std::vector<Tried>& stages) {
  std::vector<Subject> subjects;
  for (const Tried& seen : some_of(stages, static_cast<size_t>(kTried))) {
    std::string why;
    const std::vector<int64_t> all = judged_positions(*seen.phase, seen.at);
    std::vector<int64_t> positions = some_of(all, kRows);
    const bool judged = std::find(all.begin(), all.end(), seen.worst) != all.end();
    if (judged && std::find(positions.begin(), positions.end(), seen.worst) == positions.end())
      positions.insert(std::upper_bound(positions.begin(), positions.end(), seen.worst), seen.worst);
    if (auto subject = subject_of(*seen.phase, seen.at, positions, &why))
      subjects.push_back(std::move(*subject));
  }
  return subjects;
}

/// What an output of f16 or bf16 holds are numbers of that format: else its bound would explain all that is
/// not off by more.
bool is_held_in(Format format, std::span<const float> values) {
  const std::vector<double> held = round_activations(values, format).value;
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i]) && static_cast<double>(values[i]) != held[i]) return false;
  }
  return true;
}

bool explains(const Declared& declared, const Subject& subject) {
  const Format output = declared.roundings.output;
  if (output != f32 && !is_held_in(output, subject.observed)) return false;
  StageProblem problem = *subject.problem;
  const int sum_lanes = problem.declared.sum_lanes;
  problem.declared = declared;
  problem.declared.sum_lanes = sum_lanes;
  return agrees(problem, subject.observed);
}

std::optional<Declared> infer(const KernelClass& kernels, const std::vector<Tried>& stages) {
  const std::vector<Subject> subjects = subjects_of(stages);
  const auto explained = [&](const Declared& declared) {
    return std::count_if(subjects.begin(), subjects.end(),
                         [&](const Subject& subject) { return explains(declared, subject); });
  };
  // By default what was convicted, at all its rows, does not count.
  const auto right = std::count_if(stages.begin(), stages.end(), [](const Tried& s) { return !s.convicted; });
  const double by_default = static_cast<double>(right) / static_cast<double>(stages.size());
  double most = std::max(by_default, 0.499);
  std::optional<Declared> best;
  const Declared first = arithmetic_of(*stages.front().phase, stages.front().at);
  for (const Declared& candidate : candidates_of(kernels, first)) {
    const double share = static_cast<double>(explained(candidate)) / static_cast<double>(subjects.size());
    if (share <= most) continue;
    most = share;
    best = candidate;
  }
  return best;
}

/// Declares nothing, or what may be read in two ways.
bool is_open(const PhaseRecord& phase, At at) {
  const nlohmann::json& manifest = phase.view.bundle().manifest;
  const std::string& kernel = phase.view.find(at)->kernel;
  return !is_declared(manifest, kernel) || may_be_stored(declared_arithmetic(manifest, kernel));
}

bool is_of_functions(const Declared& declared) {
  return declared.roundings.fast_math || declared.angle_growth > 0;
}

/// An engine's sine or exponential is one, whichever phase shows how far it is off: the loosest counts.
void share_functions(const std::map<KernelClass, std::vector<Tried>>& classes, InferredArithmetic& inferred) {
  std::map<StageKind, Declared> loosest;
  for (const auto& [kernels, declared] : inferred) {
    if (!is_of_functions(declared)) continue;
    const auto [it, fresh] = loosest.try_emplace(kernels.kind, declared);
    if (!fresh && declared.roundings.fast_math) it->second = declared;
  }
  for (const auto& [kernels, stages] : classes) {
    const auto it = loosest.find(kernels.kind);
    if (it == loosest.end()) continue;
    const auto own = inferred.find(kernels);
    if (own == inferred.end() || is_of_functions(own->second)) inferred[kernels] = it->second;
  }
}

/// Classes with a conviction that nothing of their own explains take what explains their like: one row's
/// kernels the batch's, one phase's the other's. A fault in a whole class is then seen beside the arithmetic
/// that it ought to have.
void borrow(const std::map<KernelClass, std::vector<Tried>>& classes, InferredArithmetic& inferred) {
  std::map<KernelClass, Declared> borrowed;
  for (const auto& [kernels, stages] : classes) {
    const bool wrong = std::any_of(stages.begin(), stages.end(), [](const Tried& s) { return s.convicted; });
    if (!wrong || inferred.contains(kernels)) continue;
    for (const bool last_row : {kernels.last_row, !kernels.last_row}) {
      for (const Phase phase :
           {kernels.phase, kernels.phase == Phase::decode ? Phase::prefill : Phase::decode}) {
        KernelClass like = kernels;
        like.last_row = last_row, like.phase = phase;
        const auto it = inferred.find(like);
        if (it != inferred.end()) borrowed.try_emplace(kernels, it->second);
      }
    }
  }
  inferred.merge(borrowed);
}

}  // namespace

InferredArithmetic infer_arithmetic(const std::vector<const PhaseRecord*>& phases,
                                    const OraclePass::Options& options) {
  OraclePass by_default(options);
  const auto has_open = [](const PhaseRecord* phase) {
    return std::any_of(phase->view.events().begin(), phase->view.events().end(),
                       [&](const auto& event) { return is_open(*phase, event.first); });
  };
  if (std::none_of(phases.begin(), phases.end(), has_open)) return {};
  for (const PhaseRecord* phase : phases) by_default.add(*phase);
  by_default.run();

  std::map<KernelClass, std::vector<Tried>> classes;
  for (const PhaseRecord* phase : phases) {
    for (const auto& [at, event] : phase->view.events()) {
      const JudgedStage* judged = by_default.find(phase->view, at);
      if (judged == nullptr || !judged->judgement || !is_open(*phase, at)) continue;
      const KernelClass kernels = kernel_class(*phase->model, phase->view.kind(), at);
      if (kernels.kind == StageKind::projection && !kernels.weight) continue;
      classes[kernels].push_back({phase, at, judged->is_convicted(), judged->judgement->position});
    }
  }
  InferredArithmetic inferred;
  for (const auto& [kernels, stages] : classes) {
    if (std::none_of(stages.begin(), stages.end(), [](const Tried& s) { return s.convicted; })) continue;
    if (auto declared = infer(kernels, stages)) inferred.emplace(kernels, *declared);
  }
  share_functions(classes, inferred);
  borrow(classes, inferred);
  return inferred;
}

std::vector<KernelArithmetic> kernel_arithmetic(const std::vector<const PhaseRecord*>& phases) {
  using Source = KernelArithmetic::Source;
  std::map<std::pair<KernelClass, std::string>, KernelArithmetic> all;
  for (const PhaseRecord* phase : phases) {
    for (const auto& [at, event] : phase->view.events()) {
      if (info(at.stage).kind == StageKind::cache || !has_place(phase->model->config, at)) continue;
      const KernelClass kernels = kernel_class(*phase->model, phase->view.kind(), at);
      const bool inferred = phase->inferred != nullptr && phase->inferred->contains(kernels);
      const std::string what = describe(arithmetic_of(*phase, at));
      KernelArithmetic& entry = all[{kernels, what}];
      entry.phase = kernels.phase;
      if (kernels.weight) entry.weight_type = name(*kernels.weight);
      entry.what = what;
      const bool declared = is_declared(phase->view.bundle().manifest, event->kernel);
      entry.source = inferred && is_open(*phase, at) ? Source::inferred
                     : declared                      ? Source::declared
                                                     : Source::by_default;
      if (std::find(entry.stages.begin(), entry.stages.end(), at.stage) == entry.stages.end())
        entry.stages.push_back(at.stage);
    }
  }
  std::vector<KernelArithmetic> list;
  for (auto& [key, entry] : all) list.push_back(std::move(entry));
  return list;
}

namespace {

const PhaseRecord* prefill_of(const std::vector<const PhaseRecord*>& phases, const PhaseRecord& decode) {
  for (const PhaseRecord* phase : phases) {
    const bool prefill = phase->view.kind() == Phase::prefill;
    if (prefill && phase->view.cell() == decode.view.cell()) return phase;
  }
  return nullptr;
}

/// What prefill's arithmetic makes of decode's recorded operands, against decode's own: mean |difference|.
double apart(const std::vector<const PhaseRecord*>& phases, Stage stage) {
  double largest = 0;
  int left = kTried;
  for (const PhaseRecord* decode : phases) {
    const PhaseRecord* prefill = prefill_of(phases, *decode);
    if (decode->view.kind() != Phase::decode || prefill == nullptr) continue;
    for (const auto& [at, event] : decode->view.events()) {
      if (at.stage != stage || prefill->view.find(at) == nullptr || left == 0) continue;
      std::string why;
      const auto subject = judged_subject(*decode, at, &why);
      if (!subject) continue;
      --left;
      StageProblem other = *subject->problem;
      other.declared = arithmetic_of(*prefill, at);
      const Expected a = expected_of(*subject->problem), b = expected_of(other);
      double sum = 0, count = 0;
      for (size_t i = 0; i < a.value.size(); ++i) {
        if (!std::isfinite(a.value[i]) || !std::isfinite(b.value[i])) continue;
        sum += std::abs(a.value[i] - b.value[i]);
        ++count;
      }
      if (count > 0) largest = std::max(largest, sum / count);
    }
  }
  return largest;
}

}  // namespace

std::vector<RouteDifference> route_differences(const std::vector<KernelArithmetic>& arithmetic,
                                               const std::vector<const PhaseRecord*>& phases,
                                               const std::vector<StagePair>& pairs) {
  std::map<std::tuple<std::string, std::string, std::string>, RouteDifference> all;
  // Where experiments force several arithmetics in one phase, that is what they are for.
  const auto only_of = [&](Phase phase, Stage stage, const std::string& weight_type) {
    const KernelArithmetic* only = nullptr;
    for (const KernelArithmetic& kernels : arithmetic) {
      const bool has = std::find(kernels.stages.begin(), kernels.stages.end(), stage) != kernels.stages.end();
      if (kernels.phase != phase || !has || kernels.weight_type != weight_type) continue;
      if (only != nullptr && only->what != kernels.what) return static_cast<const KernelArithmetic*>(nullptr);
      only = &kernels;
    }
    return only;
  };
  for (const KernelArithmetic& decode : arithmetic) {
    if (decode.phase != Phase::decode) continue;
    for (const Stage stage : decode.stages) {
      const KernelArithmetic* prefill = only_of(Phase::prefill, stage, decode.weight_type);
      if (only_of(Phase::decode, stage, decode.weight_type) == nullptr) continue;
      if (prefill == nullptr || prefill->what == decode.what) continue;
      RouteDifference& entry = all[{decode.weight_type, prefill->what, decode.what}];
      entry.stages.push_back(stage);
      entry.weight_type = decode.weight_type, entry.prefill = prefill->what, entry.decode = decode.what;
      entry.mae = std::max(entry.mae, apart(phases, stage));
      for (const StagePair& pair : pairs) {
        if (pair.stage == stage && pair.status == PairStatus::rounding)
          entry.mae = std::max(entry.mae, pair.metrics.mae);
      }
    }
  }
  std::vector<RouteDifference> list;
  for (auto& [key, entry] : all) list.push_back(std::move(entry));
  return list;
}

}  // namespace greta

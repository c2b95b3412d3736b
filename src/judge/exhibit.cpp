#include "judge/exhibit.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "judge/attest.h"
#include "judge/inference.h"
#include "judge/raw_scores.h"
#include "numerics/activation.h"
#include "numerics/dequant.h"
#include "numerics/noise.h"

namespace greta {
namespace {

constexpr int64_t kOutputs = 64;  // of a projection
constexpr std::array kKindNames = {"embedding", "norm",    "head_norm", "projection", "rope", "cache",
                                   "scores",    "weights", "mix",       "product",    "sum"};  // StageKind

constexpr std::array kActivationNames = {"silu", "gelu", "swiglu_oai"};  // Activation

ExhibitTensor floats(std::span<const float> values, std::vector<int64_t> shape) {
  return {std::move(shape), {values.begin(), values.end()}};
}

/// Rows [first, first + count) of a matrix.
ExhibitTensor weight_rows(const Tensor& weight, int64_t first, int64_t count) {
  const auto width = static_cast<int64_t>(weight.dims[0]);
  ExhibitTensor rows{{count, width}, std::vector<double>(static_cast<size_t>(count * width))};
  for (int64_t row = 0; row < count; ++row)
    decode_row(weight, first + row,
               std::span(rows.values).subspan(static_cast<size_t>(row * width), static_cast<size_t>(width)));
  return rows;
}

/// An operand as the kernel reads it.
ExhibitTensor as_read(const SharedRows& values, Format format) {
  const auto size = static_cast<int64_t>(values.size());
  if (format == Format::f32) return floats({values.data(), values.size()}, {size});
  return {{size}, round_activations({values.data(), values.size()}, format).value};
}

std::vector<double> part(const std::vector<double>& all, int64_t first, int64_t count) {
  return {all.begin() + first, all.begin() + first + count};
}

/// What the formula of its kind needs besides tensors.
nlohmann::json how_of(const StageProblem& problem) {
  nlohmann::json how = {
      {"kind", kKindNames[static_cast<size_t>(problem.kind)]},
      {"scale", problem.scale},
      {"cap", std::max(problem.cap, problem.attention.cap)},
      {"eps", problem.eps},
      {"position", problem.positions.front()},
      {"activation", kActivationNames[static_cast<size_t>(problem.model->config.activation)]},
      {"heads", problem.attention.n_head},
      {"heads_kv", problem.attention.n_head_kv},
      {"head_dim", problem.attention.head_dim},
      {"attention_scale", problem.attention.scale},
      {"window", problem.attention.window},
      {"rope_dims", problem.rope.rope_dims},
      {"rope_base", problem.rope.base},
      {"rope_scale", problem.rope.scale},
      {"rope_adjacent", problem.rope.adjacent},
      {"rope_magnitude", problem.rope.magnitude},
      {"yarn_factor", problem.rope.yarn.factor},
      {"yarn_original", problem.rope.yarn.original},
      {"yarn_betas", {problem.rope.yarn.beta_fast, problem.rope.yarn.beta_slow}},
      {"yarn_whole_borders", problem.declared.whole_borders.value_or(problem.rope.yarn.whole_borders)}};
  return how;
}

/// Its own inference where the bundle declares nothing, as the judgement did.
struct Records {
  std::vector<std::unique_ptr<PhaseRecord>> phases;
  InferredArithmetic inferred;
};

Records records_for(const Bundle& bundle, const Model& model, int threads) {
  Records records;
  std::vector<const PhaseRecord*> all;
  for (PhaseView& view : PhaseView::all_of(bundle)) {
    const std::vector<TokenId> tokens = prompt_tokens(bundle, view.cell().prompt);
    records.phases.push_back(
        std::make_unique<PhaseRecord>(PhaseRecord{&model, std::move(view), tokens, nullptr, nullptr}));
    all.push_back(records.phases.back().get());
  }
  KnownJudgements known;
  infer_arithmetic(all, {.threads = threads, .known = &known}, records.inferred);
  return records;
}

void add_tensors(const StageProblem& problem, std::span<const float> observed, const Expected& right,
                 int64_t worst, Exhibit& exhibit) {
  const auto width = static_cast<int64_t>(observed.size());
  const bool product = problem.kind == StageKind::projection;
  const int64_t first =
      product ? std::min(worst / kOutputs * kOutputs, std::max<int64_t>(0, width - kOutputs)) : 0;
  const int64_t count = product ? std::min(kOutputs, width - first) : width;
  const Format format = problem.declared.roundings.activation;
  const bool reads_rounded = product || !is_block(format);
  for (size_t i = 0; i < problem.operands.size(); ++i) {
    if (problem.operands[i].made_by != nullptr)
      fail_input("its inputs were not recorded: record {} as well",
                 name(inputs_of(problem.at.stage).front()));
    const bool rounded =
        reads_rounded && !(problem.kind == StageKind::cache || problem.kind == StageKind::weights);
    exhibit.tensors[fmt::format("input{}", i)] =
        as_read(problem.operands[i].values, rounded && (i == 0 || product) ? format : Format::f32);
  }
  if (problem.kind == StageKind::embedding && problem.operands.empty()) {
    exhibit.tensors["weight"] = weight_rows(*problem.weight, problem.tokens.front(), 1);
  } else if (problem.weight != nullptr && product) {
    exhibit.tensors["weight"] = weight_rows(*problem.weight, first, count);
  } else if (problem.weight != nullptr) {
    exhibit.tensors["weight"] = weight_rows(*problem.weight, 0, 1);
  }
  if (problem.bias != nullptr) {
    const ExhibitTensor all = weight_rows(*problem.bias, 0, 1);
    exhibit.tensors["bias"] = {{count}, part(all.values, first, count)};
  }
  if (problem.rope.factors != nullptr && problem.kind == StageKind::rope)
    exhibit.tensors["factors"] = weight_rows(*problem.rope.factors, 0, 1);
  exhibit.tensors["observed"] =
      floats(observed.subspan(static_cast<size_t>(first), static_cast<size_t>(count)), {count});
  exhibit.tensors["oracle"] = {{count}, part(right.value, first, count)};
  exhibit.tensors["bound"] = {{count}, part(right.bound, first, count)};
  exhibit.how["first_element"] = first;
}

}  // namespace

Exhibit exhibit_of(const Bundle& recorded, const Model& model, const StageNoise& place, int threads) {
  const std::optional<Bundle> finished = with_scale_and_mask(recorded, model);
  const Bundle& bundle = finished ? *finished : recorded;
  Records records = records_for(bundle, model, threads);
  const At at{place.layer, place.stage};
  const PhaseRecord* worst_phase = nullptr;
  Judgement worst;
  std::string why = "not in this bundle";
  for (const auto& phase : records.phases) {
    phase->inferred = &records.inferred;
    if (phase->view.cell() != place.cell || phase->view.kind() != place.phase ||
        phase->view.find(at) == nullptr)
      continue;
    const auto judged = judge_stage(*phase, at, &why);
    if (judged && (worst_phase == nullptr || judged->noise_ratio > worst.noise_ratio)) {
      worst = *judged;
      worst_phase = phase.get();
    }
  }
  if (worst_phase == nullptr || worst.position < 0)
    fail_input("{} of layer {} in {} of {}: {}", name(place.stage), place.layer, name(place.phase),
               name(place.cell), why);
  const auto subject = subject_of(*worst_phase, at, {worst.position}, &why);
  if (!subject) fail_input("{} of layer {}: {}", name(place.stage), place.layer, why);
  const StageProblem& problem = *subject->problem;
  const bool turns_an_end = problem.kind == StageKind::rope && problem.rope.first > 0;
  if (problem.kind > StageKind::sum || turns_an_end)
    fail_input(
        "{} is a stage of a mixture of experts or of latent attention, which is no formula of numpy's yet",
        name(place.stage));
  const Expected right = expected_of(problem);
  if (!right.drift.empty())
    fail_input("{}: its unit's own rounding is no formula of numpy's", name(place.stage));
  Exhibit exhibit{.at = at,
                  .phase = place.phase,
                  .cell = place.cell,
                  .kernel = worst_phase->view.find(at)->kernel,
                  .arithmetic = describe(arithmetic_of(*worst_phase, at)),
                  .position = worst.position,
                  .noise_ratio = noise_ratio(subject->observed, right).max,
                  .how = how_of(problem)};
  add_tensors(problem, subject->observed, right, worst.element, exhibit);
  return exhibit;
}

}  // namespace greta

#include "judge/stage_oracle.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "numerics/noise.h"
#include "units/instruction.h"

namespace greta {
namespace {

/// Cached positions of an event of the cache, or those that a row of scores spans.
int64_t n_pos_of(const Event& event, Stage stage) {
  if (info(stage).row_per == RowPer::cache) return event.shape.empty() ? 0 : event.shape[0];
  return event.shape.size() == 3 ? event.shape[2] : 0;
}

/// Stages that an engine computes by the same kernel, when it does so at all.
bool alike(const Model& model, At a, At b) {
  const StageKind kind = info(a.stage).kind, other = info(b.stage).kind;
  if (kind != other && !(is_norm(kind) && is_norm(other))) return false;
  const Tensor *x = weight_of(model, {a.stage, a.layer}), *y = weight_of(model, {b.stage, b.layer});
  return x == nullptr || y == nullptr || x->type == y->type;
}

/// The kernel of a stage. Of one that was not recorded: of the same stage in another layer, else of the
/// nearest stage that is computed alike; "" when there is none.
std::string kernel_of(const PhaseRecord& phase, At at) {
  if (const Event* event = phase.view.find(at)) return event->kernel;
  const Event* nearest = nullptr;
  int least = kStageCount;
  for (const auto& [other, event] : phase.view.events()) {
    const int distance = std::abs(static_cast<int>(other.stage) - static_cast<int>(at.stage));
    if (distance >= least || !alike(*phase.model, at, other)) continue;
    least = distance;
    nearest = event;
  }
  return nearest == nullptr ? "" : nearest->kernel;
}

/// Made from the tokens, not from other stages.
bool is_from_tokens(At at) { return info(at.stage).kind == StageKind::embedding && at.layer == 0; }

bool is_cache(At at) { return info(at.stage).kind == StageKind::cache; }

/// Of a norm, the stream and the branch whose plain sum it reads; none where it reads no such.
std::vector<At> summands_of(const ModelConfig& config, At norm) {
  if (info(norm.stage).kind != StageKind::norm) return {};
  std::vector<At> from = operands_at(config, norm);
  if (!from.empty() && info(from.front().stage).kind == StageKind::embedding && from.front().layer > 0)
    from = operands_at(config, from.front());
  const bool plain = !from.empty() && info(from.front().stage).kind == StageKind::sum &&
                     scale_of(from.front().stage, config) == 1;
  return plain ? operands_at(config, from.front()) : std::vector<At>{};
}

/// Puts a problem together, following inputs that were not recorded back to some that were.
class Builder {
 public:
  Builder(const PhaseRecord& phase, std::optional<At> hidden)
      : phase_(phase), model_(*phase.model), config_(phase.model->config), hidden_(hidden) {}

  std::shared_ptr<const StageProblem> make(At at, const std::vector<int64_t>& positions) {
    if (!root_) root_ = at;
    if (!is_known(config_, at)) {
      if (why.empty()) why = fmt::format("not known: how this model computes {}", name(at.stage));
      return nullptr;
    }
    auto problem = std::make_shared<StageProblem>(model_problem(model_, at));
    problem->positions = positions;
    const nlohmann::json& manifest = phase_.view.bundle().manifest;
    const Event* event = phase_.view.find(at);
    problem->declared = arithmetic_of(phase_, at);
    problem->cache_format =
        format_from_name(event != nullptr ? event->dtype : manifest.value("kv_format", "f32"))
            .value_or(Format::f32);
    if (!rotation_fits(problem->declared, config_)) {
      missing(fmt::format("a rotation of the cache that fits heads of {}", config_.head_dim));
      return nullptr;
    }
    if (!(is_from_tokens(at) ? tokens(*problem) : operands(*problem))) return nullptr;
    add_unrounded(*problem);
    return problem;
  }

  std::string why;
  std::vector<Stage> gap;

 private:
  bool missing(std::string what) {
    if (why.empty()) why = "missing: " + std::move(what);
    return false;
  }

  bool tokens(StageProblem& problem) {
    for (const int64_t position : problem.positions) {
      if (position < 0 || position >= std::ssize(phase_.tokens)) {
        return missing("the prompt's token at its position");
      }
      problem.tokens.push_back(phase_.tokens[static_cast<size_t>(position)]);
    }
    return true;
  }

  bool operands(StageProblem& problem) {
    if (problem.kind == StageKind::cache) {
      if (problem.cache_format == Format::q8_block32)
        return missing(fmt::format("an oracle of a cache in {}", name(problem.cache_format)));
      return cache_operands(problem);
    }
    for (const At input : operands_at(config_, problem.at)) {
      if (!(is_cache(input) ? add_cache(problem, input) : add(problem, input, problem.positions)))
        return false;
    }
    return true;
  }

  /// Rows of an operand: recorded ones, or the problem that makes them.
  bool add(StageProblem& problem, At input, const std::vector<int64_t>& positions) {
    if (auto rows = recorded_rows(phase_, input, positions); rows && input != hidden_) {
      problem.operands.push_back({std::move(*rows), nullptr});
      return true;
    }
    // Which experts were chosen at a near tie nobody knows but who chose.
    if (info(input.stage).kind == StageKind::choice)
      return missing(fmt::format("{} of layer {}, which were chosen", name(input.stage), input.layer));
    // What crosses a layer's border is not made up: the whole model would be computed to judge one stage.
    // A layer that was passed over is: otherwise nothing would tell.
    const bool crosses = input.layer != problem.at.layer && !skips_layer_before(phase_.view, problem.at);
    if (crosses || begins_unseen(input, positions))
      return missing(fmt::format("{} of layer {}, its input", name(input.stage), input.layer));
    auto& maker = makers_[input];
    if (maker == nullptr || maker->positions != positions) maker = make(input, positions);
    if (maker == nullptr) return false;
    const bool hidden = input.layer == root_->layer;  // a cause is sought in the layer itself
    if (hidden && std::find(gap.begin(), gap.end(), input.stage) == gap.end()) gap.push_back(input.stage);
    problem.operands.push_back({{}, maker});
    return true;
  }

  /// The sum that a norm's operand is, before it was rounded to what is recorded of it.
  void add_unrounded(StageProblem& problem) const {
    const std::vector<At> parts = summands_of(config_, problem.at);
    if (parts.size() != 2 || problem.operands.front().made_by != nullptr) return;
    const auto a = recorded_rows(phase_, parts[0], problem.positions);
    const auto b = recorded_rows(phase_, parts[1], problem.positions);
    const SharedRows& sum = problem.operands.front().values;
    if (!a || !b || a->size() != sum.size() || b->size() != sum.size()) return;
    std::vector<float> rows;
    for (size_t i = 0; i < sum.size(); ++i) rows.push_back((*a)[i] + (*b)[i]);
    problem.unrounded = std::move(rows);
    problem.unrounded_of = sum.data();
  }

  /// A later layer's x_in whose x_out before it was not recorded either.
  bool begins_unseen(At at, const std::vector<int64_t>& positions) const {
    if (info(at.stage).kind != StageKind::embedding) return false;
    for (const At before : operands_at(config_, at)) {
      if (!recorded_rows(phase_, before, positions)) return true;
    }
    return false;
  }

  /// The cache that attention reads: every position up to the last of this problem's rows.
  bool add_cache(StageProblem& problem, At cache) {
    At by_head = problem.at;  // whose rows span the positions: scores themselves, or the weights of a mix
    if (info(by_head.stage).row_per != RowPer::token_head) by_head.stage = inputs_of(by_head.stage).front();
    const Event* spans = phase_.view.find(by_head);
    int64_t n_pos = spans == nullptr ? 0 : n_pos_of(*spans, by_head.stage);
    if (n_pos == 0) n_pos = *std::max_element(problem.positions.begin(), problem.positions.end()) + 1;
    if (n_pos > known_positions(cache.layer)) return missing(fmt::format("the cache of {} positions", n_pos));
    std::vector<int64_t> all(static_cast<size_t>(n_pos));
    for (int64_t i = 0; i < n_pos; ++i) all[static_cast<size_t>(i)] = i;
    return add(problem, cache, all);
  }

  /// At most so many positions of the layer's cache are recorded, or can be made from what is.
  int64_t known_positions(int layer) const {
    int64_t most = layer == 0 ? std::ssize(phase_.tokens) : 0;
    const auto count = [&](At at) {
      most = std::max<int64_t>(most, std::ssize(recorded_positions(phase_, at)));
    };
    for (const StageInfo& row : kStageTable) {
      if (!feeds_cache(row.stage)) continue;
      count({layer, row.stage});
      if (row.kind == StageKind::embedding) {
        for (const At before : operands_at(config_, {layer, row.stage})) count(before);
      }
    }
    return most;
  }

  bool cache_operands(StageProblem& problem) {
    std::vector<int64_t> own = problem.positions;
    std::vector<int64_t> history;
    const std::vector<int64_t> written = own_rows(problem.at);
    if (!written.empty() && phase_.before != nullptr) {
      std::erase_if(own, [&](int64_t p) { return p < written.front(); });
      history.assign(problem.positions.begin(), problem.positions.end() - std::ssize(own));
    }
    for (const At input : operands_at(config_, problem.at)) {
      if (!add(problem, input, own)) return false;
    }
    problem.history_rows = std::ssize(history);
    if (history.empty()) return true;
    auto rows = recorded_rows(*phase_.before, problem.at, history);
    if (!rows) return missing("the cache that the phase before left");
    problem.operands.push_back({std::move(*rows), nullptr});
    return true;
  }

  /// Positions whose key this phase made.
  std::vector<int64_t> own_rows(At cache) const {
    for (const At input : operands_at(config_, cache)) {
      if (phase_.view.find(input) != nullptr) return recorded_positions(phase_, input);
    }
    return recorded_positions(phase_, {cache.layer, Stage::x_in});
  }

  const PhaseRecord& phase_;
  const Model& model_;
  const ModelConfig& config_;
  std::optional<At> hidden_, root_;
  std::map<At, std::shared_ptr<const StageProblem>> makers_;
};

/// Hashes of the recorded stages that a stage is made from, through gaps.
void add_hashes(const PhaseRecord& phase, At at, int depth, std::string& key) {
  if (is_from_tokens(at)) {
    key += fmt::format(" tokens {}", fmt::join(phase.tokens, ","));
    return;
  }
  for (const At input : operands_at(phase.model->config, at)) {
    if (const Event* event = phase.view.find(input)) {
      key += " " + event->hash;
    } else if (depth < kStageCount && input.layer == at.layer) {  // no gap crosses a layer's border
      key += " " + arithmetic_key(arithmetic_of(phase, input));
      add_hashes(phase, input, depth + 1, key);
    }
  }
  for (const At part : summands_of(phase.model->config, at)) {
    if (const Event* event = phase.view.find(part)) key += " " + event->hash;
  }
  if (is_cache(at) && phase.before != nullptr) {
    if (const Event* event = phase.before->view.find(at)) key += " " + event->hash;
  }
}

/// The coarse format that all recorded results of a layer are held in, as far as some of each show; f32 for
/// none, or where they are numbers of two.
Format held_by_layer(const PhaseRecord& phase, int layer) {
  constexpr size_t kSome = 1024;
  HeldFormats held;
  bool any = false;
  for (const auto& [other, event] : phase.view.events()) {
    const bool copy = is_cache(other) || info(other.stage).kind == StageKind::embedding;
    const std::vector<float>* data = phase.view.data(other);
    if (other.layer != layer || copy || data == nullptr) continue;
    any = true;
    held.add(std::span(*data).first(std::min(data->size(), kSome)));
    if (held.formats().empty()) break;
  }
  const std::vector<Format> formats = held.formats();
  return any && formats.size() == 1 ? formats.front() : Format::f32;
}

/// An engine that rounds the results of all recorded stages of a layer to one coarse format, and so reads no
/// others, does so with one that was not recorded, either.
Declared as_its_layer(const PhaseRecord& phase, At at) { return all_in(held_by_layer(phase, at.layer)); }

}  // namespace

std::string arithmetic_key(const Declared& declared) {
  const Roundings& r = declared.roundings;
  const std::optional<bool>& borders = declared.whole_borders;
  return fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}", name(r.activation),
                     name(r.accumulator), name(r.output), name(r.weight), name(r.between), r.fast_math,
                     r.unit == nullptr ? "" : r.unit->full_name(), r.splits, r.slice, declared.sum_lanes,
                     declared.angle_rounding, declared.angle_growth, r.rotation, r.rotation_of_values,
                     name(r.unnormalised), name(r.scores), declared.fused_add,
                     borders ? static_cast<int>(*borders) : -1);
}

bool is_open(const PhaseRecord& phase, At at) {
  const nlohmann::json& manifest = phase.view.bundle().manifest;
  at = carrier_of(phase.view, at);
  const std::string kernel = kernel_of(phase, at);
  if (!is_declared(manifest, kernel)) return true;
  const Declared declared = declared_arithmetic(manifest, kernel);
  const bool weights = info(at.stage).kind == StageKind::weights;
  return may_be_stored(declared) || (is_fused(phase.view, at) && (weights || has_coarse_results(declared)));
}

bool is_one_row(const PhaseRecord& phase) {
  return phase.view.kind() == Phase::decode || phase.tokens.size() == 1;
}

Declared declared_arithmetic(const PhaseRecord& phase, At at) {
  at = carrier_of(phase.view, at);
  const std::string kernel = kernel_of(phase, at);
  if (kernel.empty() && phase.view.find(at) == nullptr && !is_cache(at)) return as_its_layer(phase, at);
  return declared_arithmetic(phase.view.bundle().manifest, kernel);
}

Declared kernel_declares(const PhaseRecord& phase, At at) {
  at = carrier_of(phase.view, at);
  const Declared declared = declared_arithmetic(phase, at);
  if (phase.inferred == nullptr || !is_open(phase, at)) return declared;
  if (phase.inferred->by_default.contains(phase.view.find(at))) return declared;
  const KernelClass kernels = kernel_class(*phase.model, phase.view, at);
  for (const auto* known : {&phase.inferred->of_class, &phase.inferred->supposed}) {
    if (const auto it = known->find(kernels); it != known->end()) return it->second;
  }
  return declared;
}

Declared arithmetic_of(const PhaseRecord& phase, At at) {
  const At carrier = carrier_of(phase.view, at);
  const StageKind kind = info(at.stage).kind;
  Declared declared = kernel_declares(phase, carrier);
  if (is_fused(phase.view, carrier)) declared = part_of(declared, info(carrier.stage).kind, kind);
  // A rotated cache is met by queries that are rotated likewise, and leaves rotated sums of values.
  const bool after_mix =
      is_projection(kind) && info(operands_at(phase.model->config, at).front().stage).kind == StageKind::mix;
  if (kind != StageKind::scores && !after_mix) return declared;
  const Roundings cache = kernel_declares(phase, {at.layer, Stage::kv_write}).roundings;
  declared.roundings.rotation = after_mix ? cache.rotation_of_values : cache.rotation;
  return declared;
}

std::vector<int64_t> recorded_positions(const PhaseRecord& phase, At at) {
  const std::vector<float>* data = phase.view.data(at);
  if (data == nullptr) return {};
  const Event& event = *phase.view.find(at);
  const bool range = event.positions.size() == 2;
  if (range && event.positions[1] - event.positions[0] >= std::ssize(*data)) return {};
  std::vector<int64_t> positions = positions_of(event);
  if (std::ssize(positions) > std::ssize(*data)) return {};
  return positions;
}

std::vector<int64_t> judged_positions(const PhaseRecord& phase, At at) {
  std::vector<int64_t> positions = recorded_positions(phase, at);
  if (!is_cache(at) || phase.before != nullptr) return positions;
  // Rows that other runs wrote are inputs: only those whose key and value are known are judged.
  for (const At made : operands_at(phase.model->config, at)) {
    if (phase.view.find(made) == nullptr) continue;
    const std::vector<int64_t> own = recorded_positions(phase, made);
    std::erase_if(positions, [&](int64_t p) { return std::find(own.begin(), own.end(), p) == own.end(); });
  }
  return positions;
}

std::optional<SharedRows> recorded_rows(const PhaseRecord& phase, At at,
                                        const std::vector<int64_t>& positions) {
  const Event* event = phase.view.find(at);
  const std::vector<float>* data = phase.view.data(at);
  if (data == nullptr || !has_place(phase.model->config, at)) return std::nullopt;
  const std::vector<int64_t> there = recorded_positions(phase, at);
  const int64_t width = row_width(at, phase.model->config, n_pos_of(*event, at.stage));
  if (there.empty() || width <= 0 || std::ssize(*data) != std::ssize(there) * width) return std::nullopt;
  if (there == positions) return SharedRows::of(*data);
  std::vector<float> rows;
  rows.reserve(positions.size() * static_cast<size_t>(width));
  for (const int64_t position : positions) {
    const auto it = std::find(there.begin(), there.end(), position);
    if (it == there.end()) return std::nullopt;
    const auto begin = data->begin() + (it - there.begin()) * width;
    rows.insert(rows.end(), begin, begin + width);
  }
  return rows;
}

std::optional<Subject> subject_of(const PhaseRecord& phase, At at, const std::vector<int64_t>& positions,
                                  std::string* why, std::optional<At> hidden) {
  const auto fail = [&](std::string text) {
    *why = std::move(text);
    return std::nullopt;
  };
  if (!has_place(phase.model->config, at))
    return fail(fmt::format("missing: {} in layer {} of the model", name(at.stage), at.layer));
  if (phase.view.data(at) == nullptr) return fail("missing: the stage's own data");
  if (positions.empty()) return fail("missing: the positions of its rows");
  auto observed = recorded_rows(phase, at, positions);
  if (!observed) return fail("its data do not fit the model and its positions");
  Builder builder(phase, hidden);
  Subject subject{builder.make(at, positions), std::move(*observed), {}};
  if (subject.problem == nullptr) return fail(builder.why);
  subject.gap = std::move(builder.gap);
  subject.observed = settled(*subject.problem, std::move(subject.observed));
  return subject;
}

std::string judgement_key(const PhaseRecord& phase, At at) {
  const Event& event = *phase.view.find(at);
  std::string key =
      fmt::format("{} {} {} {} [{}] [{}]", name(at.stage), at.layer, arithmetic_key(arithmetic_of(phase, at)),
                  event.hash, fmt::join(event.positions, ","), fmt::join(event.shape, ","));
  if (is_cache(at)) key += fmt::format(" [{}]", fmt::join(judged_positions(phase, at), ","));
  add_hashes(phase, at, 0, key);
  return key;
}

UnitBias bias_of(const StageProblem& problem, std::span<const float> observed, const Expected& expected) {
  const bool made = problem.operands.size() != 1 || problem.operands.front().made_by != nullptr;
  if (expected.drift.empty() || made) return {};
  const std::span input(problem.operands.front().values);
  const size_t rows = problem.positions.size(), k = input.size() / rows;
  std::vector<char> counts(rows, 1);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t other = 0; other < row && counts[row] != 0; ++other) {
      if (std::memcmp(&input[row * k], &input[other * k], k * sizeof(float)) == 0) counts[row] = 0;
    }
  }
  return unit_bias(observed, expected, counts);
}

std::optional<Subject> judged_subject(const PhaseRecord& phase, At at, std::string* why) {
  return subject_of(phase, at, judged_positions(phase, at), why);
}

std::optional<Trial> trial_of(Subject subject, Expected right, std::string* why) {
  if (right.value.size() != subject.observed.size()) {
    *why = fmt::format("{} values where the model makes {}", subject.observed.size(), right.value.size());
    return std::nullopt;
  }
  size_t i = 0;
  while (i < right.value.size() && !right.tells(i)) ++i;
  if (i == right.value.size()) {
    *why = kNothingTold;
    return std::nullopt;
  }
  return Trial{std::move(subject), std::move(right)};
}

Judgement judgement_of(const Trial& trial) {
  const auto& [subject, expected] = trial;
  const std::vector<int64_t>& positions = subject.problem->positions;
  const NoiseRatio ratio = noise_ratio(subject.observed, expected);
  Judgement judgement;
  judgement.noise_ratio = ratio.max;
  judgement.bias = bias_of(*subject.problem, subject.observed, expected);
  if (judgement.noise_ratio <= 1 && judgement.bias.ratio > 1) judgement.noise_ratio = judgement.bias.ratio;
  judgement.rows = std::ssize(positions);
  judgement.untold = ratio.untold;
  judgement.over_gap = !subject.gap.empty();
  if (ratio.at >= 0) {
    const int64_t width = std::ssize(subject.observed) / judgement.rows;
    judgement.position = positions[static_cast<size_t>(ratio.at / width)];
    judgement.element = ratio.at % width;
  }
  for (size_t i = 0; i < expected.value.size(); ++i) {
    judgement.not_finite += !std::isfinite(subject.observed[i]) && std::isfinite(expected.value[i]);
  }
  return judgement;
}

std::optional<Trial> try_stage(const PhaseRecord& phase, At at, std::string* why) {
  std::optional<Subject> subject = judged_subject(phase, at, why);
  if (!subject) return std::nullopt;
  Expected right = expected_of(*subject->problem);
  return trial_of(std::move(*subject), std::move(right), why);
}

bool agrees(const StageProblem& problem, std::span<const float> observed) {
  const Expected expected = expected_of(problem);
  return expected.value.size() == observed.size() && noise_ratio(observed, expected).max <= 1;
}

bool agrees(const Subject& subject) { return agrees(*subject.problem, subject.observed); }

std::optional<Judgement> judge_stage(const PhaseRecord& phase, At at, std::string* why) {
  const std::optional<Trial> trial = try_stage(phase, at, why);
  return trial ? std::optional(judgement_of(*trial)) : std::nullopt;
}

}  // namespace greta

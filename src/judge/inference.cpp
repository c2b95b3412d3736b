#include "judge/inference.h"

#include <algorithm>
#include <cmath>
#include <list>
#include <map>
#include <span>

#include "base/parallel.h"
#include "judge/arithmetic_candidates.h"
#include "numerics/activation.h"
#include "numerics/noise.h"

namespace greta {
namespace {

constexpr size_t kTried = 6;  // stages of a class, from the first layer to the last
constexpr size_t kRows = 2;   // of each: all of them are judged by what these show
constexpr size_t kOutputs = 512;
constexpr int kRounds = 3;  // of judging all rows by what was inferred
constexpr double kSame = 1e-9;
constexpr double kLess = 0.99;  // of the squares: hundreds of elements tell so much apart

using enum Format;

/// A recorded stage, and what the oracle makes of it by what is supposed so far.
struct Tried {
  const PhaseRecord* phase;
  At at;
  bool convicted = false;
  int64_t worst = -1, element = -1;  // the position, and in its row, that is farthest outside, where known
};
using Classes = std::map<KernelClass, std::vector<Tried>>;

int64_t convicted_of(const std::vector<Tried>& stages) {
  return std::count_if(stages.begin(), stages.end(), [](const Tried& seen) { return seen.convicted; });
}

/// n of them, evenly from the first to the last.
template <class T>
std::vector<T> some_of(const std::vector<T>& all, size_t n) {
  if (all.size() <= n) return all;
  std::vector<T> some;
  for (size_t i = 0; i < n; ++i) some.push_back(all[i * (all.size() - 1) / (n - 1)]);
  return some;
}

/// Outputs [first, first + kOutputs) of a projection's weight or bias.
struct SomeOutputs {
  SomeOutputs(const Tensor& whole, int dim, size_t first) : tensor(whole) {
    uint64_t& count = tensor.dims[static_cast<size_t>(dim)];
    rows = copy_rows(whole, first, kOutputs, count);
    count = kOutputs;
    tensor.data = rows;
    tensor.order = {};
  }
  std::vector<std::byte> rows;
  Tensor tensor;
};

/// Those about one of them: they show a projection's arithmetic as all do.
Subject with_few_outputs(Subject subject, size_t about) {
  const StageProblem& whole = *subject.problem;
  const size_t all = whole.kind == StageKind::projection ? whole.weight->dims[1] : 0;
  if (all <= kOutputs) return subject;
  const size_t first = std::min(about / kOutputs * kOutputs, all - kOutputs);
  const auto part = std::make_shared<std::list<SomeOutputs>>();
  auto problem = std::make_shared<StageProblem>(whole);
  problem->weight = &part->emplace_back(*whole.weight, 1, first).tensor;
  if (whole.bias != nullptr) problem->bias = &part->emplace_back(*whole.bias, 0, first).tensor;
  problem->keeps = part;
  std::vector<float> observed;
  for (size_t row = 0; row < whole.positions.size(); ++row) {
    const auto begin = subject.observed.begin() + row * all + first;
    observed.insert(observed.end(), begin, begin + kOutputs);
  }
  subject.problem = std::move(problem);
  subject.observed = std::move(observed);
  return subject;
}

/// A few rows of a stage, the worst among them, as a problem whose arithmetic can be exchanged.
std::optional<Subject> few_rows_of(const Tried& seen) {
  std::string why;
  const std::vector<int64_t> all = judged_positions(*seen.phase, seen.at);
  std::vector<int64_t> positions = some_of(all, kRows);
  const bool judged = std::find(all.begin(), all.end(), seen.worst) != all.end();
  if (judged && std::find(positions.begin(), positions.end(), seen.worst) == positions.end())
    positions.insert(std::upper_bound(positions.begin(), positions.end(), seen.worst), seen.worst);
  auto subject = subject_of(*seen.phase, seen.at, positions, &why);
  if (!subject) return subject;
  return with_few_outputs(std::move(*subject), static_cast<size_t>(std::max<int64_t>(seen.element, 0)));
}

/// Of some stages of a class, and of some that are convicted.
std::vector<Subject> subjects_of(const std::vector<Tried>& stages) {
  std::vector<Tried> right, convicted;
  for (const Tried& seen : stages) (seen.convicted ? convicted : right).push_back(seen);
  std::vector<Subject> subjects;
  for (const auto* kind : {&right, &convicted}) {
    for (const Tried& seen : some_of(*kind, kTried)) {
      auto subject = few_rows_of(seen);
      // Zeros are numbers of any format, and what any arithmetic makes of zeros.
      if (subject && std::ranges::any_of(subject->observed, [](float x) { return x != 0; }))
        subjects.push_back(std::move(*subject));
    }
  }
  return subjects;
}

/// Sums of a coarse format have a bound that small mistakes hide in: what they leave must be without a slope.
/// That of the observed values on the expected ones is 1 but for the rounding errors' share, at most their
/// bounds' third in the standard deviation.
bool looks_like_rounding(std::span<const float> observed, const Expected& expected) {
  double both = 0, square = 0, error = 0;
  for (size_t i = 0; i < observed.size(); ++i) {
    const double value = expected.value[i], seen = static_cast<double>(observed[i]);
    if (!std::isfinite(value) || !std::isfinite(seen) || !std::isfinite(expected.bound[i])) continue;
    both += value * seen;
    square += value * value;
    error += value * value * expected.bound[i] * expected.bound[i] / 9;
  }
  constexpr double kDeviations = 4;
  return square == 0 || std::abs(both / square - 1) <= kDeviations * std::sqrt(error) / square;
}

/// How a candidate fits a stage.
struct Fit {
  bool explains = false;
  double squares = 0;  // of what is left
};

Fit fit(const Declared& declared, bool fused, const Subject& subject) {
  const Format output = declared.roundings.output;
  if (output != f32 && !is_held_in(output, subject.observed)) return {};
  const StageProblem& root = *subject.problem;
  if (!fits_model(declared, *root.model)) return {};
  const Expected expected = expected_of(by_arithmetic(root, declared, fused));
  if (expected.value.size() != subject.observed.size()) return {};
  Fit fit{noise_ratio(subject.observed, expected).max <= 1, 0};
  if (bounds::unit_roundoff(declared.roundings.accumulator) > bounds::kU)
    fit.explains = fit.explains && looks_like_rounding(subject.observed, expected);
  for (size_t i = 0; i < expected.value.size(); ++i) {
    const double off = static_cast<double>(subject.observed[i]) - expected.value[i];
    if (std::isfinite(off)) fit.squares += off * off;
  }
  return fit;
}

/// A candidate over all subjects.
struct Fits {
  double share = 0;  // of the subjects that it explains
  std::vector<double> squares;

  /// Both explain as much: whose roundings of operands are the engine's leaves less.
  bool leaves_less_than(const Fits& other) const {
    double less = 0;
    for (size_t i = 0; i < squares.size(); ++i)
      less += squares[i] == other.squares[i] ? 1 : squares[i] / other.squares[i];
    return less < kLess * static_cast<double>(squares.size());
  }
};

Fits fits(const Declared& declared, bool fused, const std::vector<Subject>& subjects) {
  Fits all;
  for (const Subject& subject : subjects) {
    const Fit one = fit(declared, fused, subject);
    all.share += one.explains / static_cast<double>(subjects.size());
    all.squares.push_back(one.squares);
  }
  return all;
}

/// Explains more than `first` does by its roundings of sums and results, which are known but for their bound;
/// those of operands are determined.
bool is_coarser(const Declared& declared, const Declared& first) {
  const auto coarser = [](Format a, Format b) { return bounds::unit_roundoff(a) > bounds::unit_roundoff(b); };
  const Roundings &a = declared.roundings, &b = first.roundings;
  return coarser(a.accumulator, b.accumulator) || coarser(a.output, b.output) ||
         coarser(a.between, b.between);
}

/// The coarse formats that all results of a class are held in: small numbers may be of both.
std::vector<Format> held_in(const std::vector<Subject>& subjects) {
  HeldFormats held;
  for (const Subject& subject : subjects) held.add(subject.observed);
  return held.formats();
}

/// How much of a class an arithmetic has to explain. One that rounds operands alone leaves them determined,
/// and the bound as narrow as it was: hundreds of outputs of two stages are not met by chance, though faults
/// have all the others. What widens the bound has to explain half.
double least_share(const Declared& candidate, const Declared& first, size_t subjects) {
  constexpr double kHalf = 0.499, kSome = 0.15;
  Declared but_between = candidate;  // an intermediate result in f16 widens it by a fraction
  but_between.roundings.between = first.roundings.between;
  return is_coarser(but_between, first)
             ? kHalf
             : std::max(kSome, std::min(kHalf, 1.999 / static_cast<double>(subjects)));
}

/// What explains a class better than what is supposed of it.
std::optional<Declared> better_than(const Declared& supposed, const KernelClass& kernels,
                                    const std::vector<Tried>& stages) {
  const std::vector<Subject> subjects = subjects_of(stages);
  if (subjects.empty()) return std::nullopt;
  const Declared first = declared_arithmetic(*stages.front().phase, stages.front().at);
  Fits best = fits(supposed, kernels.fused, subjects);
  const int64_t convicted = convicted_of(stages);
  if (best.share > 1 - kSame) return std::nullopt;
  // Of all stages, where all were judged.
  const double right =
      convicted == 0 ? best.share : 1 - static_cast<double>(convicted) / static_cast<double>(stages.size());
  std::optional<Declared> better;
  const std::vector<Format> held = held_in(subjects);
  const auto is_held = [&](const Declared& by) { return std::ranges::count(held, by.roundings.output) > 0; };
  // Numbers that are all of a coarse format are what rounding to it leaves, and speak for nothing finer.
  const bool rounded = !held.empty() && !is_held(supposed) && kernels.kind != StageKind::cache;
  double most = rounded ? 0 : right;
  for (const Declared& candidate : arithmetic_candidates(kernels, first)) {
    if (rounded && !is_held(candidate)) continue;
    // A unit's rule is slow to try: for what all else convicts, and supposed where it explains all.
    const bool unit = candidate.roundings.unit != nullptr;
    if (unit && (convicted == 0 || (better && best.share > 1 - kSame))) continue;
    // One kernel computes the class: where most stages show finer numbers, the others are no coarser.
    if (!rounded && right > 0.5 && is_coarser(candidate, supposed)) continue;
    Fits own = fits(candidate, kernels.fused, subjects);
    if (unit && own.share < 1 - kSame) continue;
    const bool same = better && own.share > most - kSame;
    if (own.share < least_share(candidate, first, subjects.size())) continue;
    if (own.share <= most + kSame && !(same && own.leaves_less_than(best))) continue;
    most = own.share;
    best = std::move(own);
    better = candidate;
  }
  return better;
}

bool is_of_functions(const Declared& declared) {
  return declared.roundings.fast_math || declared.angle_growth > 0;
}

/// An engine's sine or exponential is one, whichever phase shows how far it is off: the loosest counts.
void share_functions(const Classes& classes, InferredArithmetic& inferred) {
  std::map<StageKind, Declared> loosest;
  for (const auto& [kernels, declared] : inferred.of_class) {
    if (!is_of_functions(declared)) continue;
    const auto [it, fresh] = loosest.try_emplace(kernels.kind, declared);
    if (!fresh && declared.roundings.fast_math) it->second = declared;
  }
  for (const auto& [kernels, stages] : classes) {
    const auto it = loosest.find(kernels.kind);
    if (it == loosest.end()) continue;
    const auto own = inferred.of_class.find(kernels);
    if (own == inferred.of_class.end() || is_of_functions(own->second))
      inferred.of_class[kernels] = it->second;
  }
}

/// An engine reads a file in one way: what it leaves open is taken as RoPE shows it that is not wrong by it,
/// and as the model has it where some is right by that alone.
void share_borders(const Classes& classes, InferredArithmetic& inferred) {
  std::optional<bool> borders;
  for (const auto& [kernels, declared] : inferred.of_class) {
    if (declared.whole_borders) borders = declared.whole_borders;
  }
  if (!borders) return;
  std::map<KernelClass, Declared> by_these;
  bool contradicted = false;
  for (const auto& [kernels, stages] : classes) {
    const auto own = inferred.of_class.find(kernels);
    const bool has = own != inferred.of_class.end() && own->second.whole_borders == borders;
    if (kernels.kind != StageKind::rope || has) continue;
    const std::vector<Subject> subjects = subjects_of(stages);
    if (subjects.empty()) continue;
    const Declared otherwise = own != inferred.of_class.end()
                                   ? own->second
                                   : kernel_declares(*stages.front().phase, stages.front().at);
    Declared declared = otherwise;
    declared.whole_borders = borders;
    const auto explains = [&](const Declared& by) { return fits(by, false, subjects).share > 1 - kSame; };
    if (explains(declared)) {
      by_these[kernels] = declared;
    } else {
      contradicted = contradicted || explains(otherwise);
    }
  }
  for (auto& [kernels, declared] : inferred.of_class) {
    if (contradicted) declared.whole_borders.reset();
  }
  if (contradicted) return;
  for (auto& [kernels, declared] : by_these) inferred.of_class[kernels] = declared;
}

/// Classes with a conviction that nothing of their own explains take what explains their like: one row's
/// kernels the batch's, one phase's the other's. A fault in a whole class is then seen beside the arithmetic
/// that it ought to have.
void borrow(const Classes& classes, InferredArithmetic& inferred) {
  std::map<KernelClass, Declared> borrowed;
  for (const auto& [kernels, stages] : classes) {
    if (convicted_of(stages) == 0 || inferred.of_class.contains(kernels)) continue;
    for (const bool last_row : {kernels.last_row, !kernels.last_row}) {
      for (const Phase phase :
           {kernels.phase, kernels.phase == Phase::decode ? Phase::prefill : Phase::decode}) {
        KernelClass like = kernels;
        like.last_row = last_row, like.phase = phase;
        const auto it = inferred.of_class.find(like);
        if (it != inferred.of_class.end()) borrowed.try_emplace(kernels, it->second);
      }
    }
  }
  inferred.of_class.merge(borrowed);
}

/// By kernel; only those that declare nothing, and are asked for.
Classes open_classes(const std::vector<const PhaseRecord*>& phases, const std::set<At>* asked) {
  Classes classes;
  for (const PhaseRecord* phase : phases) {
    for (const auto& [at, event] : phase->view.events()) {
      if (asked != nullptr && !asked->contains(at)) continue;
      if (!is_open(*phase, at) || !has_place(phase->model->config, at)) continue;
      const KernelClass kernels = kernel_class(*phase->model, phase->view, at);
      if (is_projection(kernels.kind) && !kernels.weight) continue;
      classes[kernels].push_back({phase, at});
    }
  }
  return classes;
}

/// Judges all rows by what is inferred so far. A stage that cannot be judged leaves its class.
void judge_all(const std::vector<const PhaseRecord*>& phases, const OraclePass::Options& options,
               Classes& classes) {
  OraclePass pass(options);
  for (const PhaseRecord* phase : phases) pass.add(*phase);
  pass.run();
  for (auto& [kernels, stages] : classes) {
    for (Tried& seen : stages) {
      const JudgedStage* judged = pass.find(seen.phase->view, seen.at);
      seen.convicted = judged->is_convicted();
      seen.worst = judged->judgement ? judged->judgement->position : -1;
      seen.element = judged->judgement ? judged->judgement->element : -1;
    }
    std::erase_if(stages,
                  [&](const Tried& seen) { return !pass.find(seen.phase->view, seen.at)->judgement; });
  }
}

/// What leaves most of its class outside its bound is not what the class does: judged by f32, an error that
/// it was taken for keeps its size. Functions apart, which are coarser than f32 by little.
void drop_what_explains_little(const Classes& classes, InferredArithmetic& inferred) {
  for (const auto& [kernels, stages] : classes) {
    const auto it = inferred.of_class.find(kernels);
    const bool little = 2 * convicted_of(stages) > std::ssize(stages);
    if (kernels.fused && it != inferred.of_class.end() && little) inferred.of_class.erase(it);
  }
}

/// What is all held in a coarse format isn't computed in f32, also where faults hide how it is computed: a
/// class's right stages are then judged as what they are, attention's scores as coarsely as may be.
void suppose_held(const Classes& classes, InferredArithmetic& inferred) {
  for (const auto& [kernels, stages] : classes) {
    if (kernels.kind == StageKind::cache || stages.empty() || inferred.of_class.contains(kernels)) continue;
    const std::vector<Subject> subjects = subjects_of(stages);
    const std::vector<Format> held = held_in(subjects);
    const Declared exact = declared_arithmetic(*stages.front().phase, stages.front().at);
    if (held.size() == 1 && fits(exact, kernels.fused, subjects).share < 1 - kSame)
      inferred.supposed[kernels] = all_in(held.front());
  }
}

/// Kernels are chosen by shape, too: what a class's arithmetic convicts and the default explains is the work
/// of another.
void except_what_is_exact(const Classes& classes, InferredArithmetic& inferred) {
  for (const auto& [kernels, stages] : classes) {
    if (!inferred.of_class.contains(kernels)) continue;
    for (const Tried& seen : stages) {
      const Declared exact = declared_arithmetic(*seen.phase, seen.at);
      std::string why;
      const auto explains = [&, fused = kernels.fused](const std::optional<Subject>& subject) {
        return subject && fit(exact, fused, *subject).explains;
      };
      if (seen.convicted && explains(few_rows_of(seen)) &&
          explains(judged_subject(*seen.phase, seen.at, &why)))
        inferred.by_default.insert(seen.phase->view.find(seen.at));
    }
  }
}

/// Supposes better where it can, once judged only of what is convicted; true if it did.
bool improve(const Classes& classes, bool judged, int threads, InferredArithmetic& inferred) {
  const InferredArithmetic before = inferred;
  std::vector<Classes::const_iterator> all;
  for (auto it = classes.begin(); it != classes.end(); ++it) {
    if (judged ? convicted_of(it->second) > 0 : !it->second.empty()) all.push_back(it);
  }
  std::vector<std::optional<Declared>> better(all.size());
  parallel_for(threads, all.size(), [&](size_t i) {
    const auto& [kernels, stages] = *all[i];
    const auto it = before.of_class.find(kernels);
    const Declared supposed =
        it != before.of_class.end() ? it->second : kernel_declares(*stages.front().phase, stages.front().at);
    better[i] = better_than(supposed, kernels, stages);
  });
  for (size_t i = 0; i < all.size(); ++i) {
    if (better[i]) inferred.of_class[all[i]->first] = *better[i];
  }
  share_functions(classes, inferred);
  share_borders(classes, inferred);
  borrow(classes, inferred);
  return inferred != before;
}

}  // namespace

void infer_arithmetic(const std::vector<const PhaseRecord*>& phases, const OraclePass::Options& options,
                      InferredArithmetic& inferred, const std::set<At>* asked) {
  Classes classes = open_classes(phases, asked);
  if (classes.empty()) return;
  improve(classes, false, options.threads, inferred);
  suppose_held(classes, inferred);
  for (int round = 0; round < kRounds; ++round) {
    judge_all(phases, options, classes);
    if (!improve(classes, true, options.threads, inferred)) break;
  }
  drop_what_explains_little(classes, inferred);
  suppose_held(classes, inferred);
  except_what_is_exact(classes, inferred);
}

}  // namespace greta

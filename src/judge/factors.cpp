#include "judge/factors.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <set>

namespace greta {
namespace {

/// More values than these are a list, not an answer.
constexpr size_t kMostValues = 4;
/// From this many on a range is easier to read than the list.
constexpr size_t kRange = 3;

int64_t number(const std::string& text) {
  int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

/// The values of numbers that are wrong, as a range or as a residue, if all that are right are outside.
std::optional<std::string> range_of(const std::set<int64_t>& wrong, const std::set<int64_t>& right) {
  if (*wrong.begin() > *right.rbegin()) return fmt::format("{} and more", *wrong.begin());
  if (*wrong.rbegin() < *right.begin()) return fmt::format("{} and less", *wrong.rbegin());
  if (right.size() < kRange) return std::nullopt;  // chance would do
  for (const int64_t mod : {2, 3, 4, 5, 6, 8, 16, 32, 64}) {
    std::set<int64_t> residues;
    for (const int64_t value : wrong) residues.insert(value % mod);
    const bool apart =
        std::ranges::none_of(right, [&](int64_t value) { return residues.contains(value % mod); });
    if (residues.size() == 1 && apart) return fmt::format("{} modulo {}", *residues.begin(), mod);
  }
  return std::nullopt;
}

}  // namespace

Trials::Trials(std::vector<Attribute> attributes)
    : attributes_(std::move(attributes)), texts_(attributes_.size()) {}

void Trials::add(Stage stage, const std::vector<std::string>& values, int cause) {
  Trial trial{stage, {}, cause};
  for (size_t i = 0; i < attributes_.size(); ++i) {
    Texts& known = texts_[i];
    const auto [at, fresh] = known.index.try_emplace(values[i], static_cast<int>(known.texts.size()));
    if (fresh) known.texts.push_back(values[i]);
    trial.values.push_back(at->second);
  }
  trials_.push_back(std::move(trial));
}

std::vector<Factor> Trials::factors() const {
  std::map<StageKind, Sorted> kinds;
  for (const Trial& trial : trials_) {
    Sorted& kind = kinds[info(trial.stage).kind];
    (trial.cause == kRight ? kind.right : kind.wrong).push_back(&trial);
  }
  return factors_of(kinds);
}

std::vector<Factor> Trials::factors(int cause) const {
  std::map<StageKind, Sorted> kinds;
  for (const Trial& trial : trials_) {
    if (trial.cause != cause && trial.cause != kRight) continue;
    Sorted& kind = kinds[info(trial.stage).kind];
    (trial.cause == cause ? kind.wrong : kind.right).push_back(&trial);
  }
  return factors_of(kinds);
}

std::vector<Factor> Trials::factors_of(const std::map<StageKind, Sorted>& kinds) const {
  std::vector<Factor> factors;
  for (const auto& [kind, sorted] : kinds) {
    if (sorted.wrong.empty() || sorted.right.empty()) continue;
    if (auto factor = factor_of(sorted)) factors.push_back(std::move(*factor));
  }
  return factors;
}

std::optional<Factor> Trials::factor_of(const Sorted& sorted) const {
  for (size_t i = 0; i < attributes_.size(); ++i) {
    if (auto factor = split_by(sorted, {i})) return factor;
  }
  std::optional<Factor> best;
  for (size_t i = 0; i < attributes_.size(); ++i) {
    for (size_t j = i + 1; j < attributes_.size(); ++j) {
      auto factor = split_by(sorted, {i, j});
      if (factor && (!best || factor->wrong_values.size() < best->wrong_values.size()))
        best = std::move(factor);
    }
  }
  return best;
}

/// What split_by counts at `index`.
std::vector<std::string> Trials::values_at(const std::vector<size_t>& attributes, size_t index) const {
  std::vector<std::string> words(attributes.size());
  for (size_t k = attributes.size(); k-- > 0;) {
    const std::vector<std::string>& texts = texts_[attributes[k]].texts;
    words[k] = texts[index % texts.size()];
    index /= texts.size();
  }
  return words;
}

/// nullopt where some values are of right and of wrong recordings.
std::optional<Factor> Trials::split_by(const Sorted& sorted, const std::vector<size_t>& attributes) const {
  size_t values = 1;
  for (const size_t i : attributes) values *= texts_[i].texts.size();
  std::vector<bool> wrong(values), right(values);
  const auto index = [&](const Trial& trial) {
    size_t at = 0;
    for (const size_t i : attributes) at = at * texts_[i].texts.size() + static_cast<size_t>(trial.values[i]);
    return at;
  };
  for (const Trial* trial : sorted.wrong) wrong[index(*trial)] = true;
  for (const Trial* trial : sorted.right) {
    if (wrong[index(*trial)]) return std::nullopt;
    right[index(*trial)] = true;
  }
  Factor factor{.wrong = std::ssize(sorted.wrong), .right = std::ssize(sorted.right)};
  for (const size_t i : attributes) factor.attributes.push_back(attributes_[i].name);
  const auto count = static_cast<size_t>(std::ranges::count(wrong, true));
  const bool alone = attributes.size() == 1 && attributes_[attributes.front()].is_number;
  std::optional<std::string> told;
  if (alone && count >= kRange) told = range(attributes.front(), wrong, right);
  if (told) {
    factor.wrong_values.push_back({*told});
  } else if (count > kMostValues) {
    return std::nullopt;
  }
  for (size_t at = 0; at < values && !told; ++at) {
    if (wrong[at]) factor.wrong_values.push_back(values_at(attributes, at));
  }
  std::ranges::sort(factor.wrong_values);
  std::set<Stage> stages;
  for (const Trial* trial : sorted.wrong) stages.insert(trial->stage);
  factor.stages.assign(stages.begin(), stages.end());
  return factor;
}

std::optional<std::string> Trials::range(size_t attribute, const std::vector<bool>& wrong,
                                         const std::vector<bool>& right) const {
  std::set<int64_t> wrong_numbers, right_numbers;
  for (size_t i = 0; i < wrong.size(); ++i) {
    const std::string& text = texts_[attribute].texts[i];
    if (wrong[i]) wrong_numbers.insert(number(text));
    if (right[i]) right_numbers.insert(number(text));
  }
  return range_of(wrong_numbers, right_numbers);
}

}  // namespace greta

#include "judge/residual_pattern.h"

#include <fmt/format.h>

#include <cmath>

namespace greta {
namespace {

/// Nearly all: small errors of some elements drown in their rounding.
bool nearly_all(size_t some, int64_t all) { return 4 * static_cast<int64_t>(some) >= 3 * all; }

}  // namespace

std::string index_pattern(const std::set<int64_t>& indices, Language language) {
  const bool spanish = language == Language::spanish;
  const std::vector<int64_t> list(indices.begin(), indices.end());
  if (list.empty()) return "-";
  if (list.size() == 1) return fmt::format("{}", list[0]);
  const int64_t step = list[1] - list[0];
  bool regular = true;
  for (size_t i = 1; i < list.size(); ++i) regular &= list[i] - list[i - 1] == step;
  if (regular && step == 1) return fmt::format("{}-{}", list.front(), list.back());
  if (regular && list.size() > 2)
    return spanish ? fmt::format("uno de cada {} desde {}", step, list[0])
                   : fmt::format("one in {} from {}", step, list[0]);
  constexpr size_t kShown = 6;
  std::string text = fmt::format("{}", list[0]);
  for (size_t i = 1; i < std::min(list.size(), kShown); ++i) text += fmt::format(", {}", list[i]);
  return list.size() > kShown ? text + ", ..." : text;
}

void ResidualPattern::add(const Observation& seen) {
  same_width_ &= width_ == 0 || width_ == seen.width;
  width_ = seen.width;
  heads_ = seen.heads;
  for (int64_t row = 0; row < seen.rows; ++row) {
    const int64_t position = seen.problem->positions[static_cast<size_t>(row)];
    bool wrong = false;
    for (int64_t at = 0; at < seen.width; ++at) {
      const size_t i = static_cast<size_t>(row * seen.width + at);
      if (!seen.is_wrong(i)) continue;
      wrong = true;
      wrong_heads_.insert(at / seen.head_width());
      wrong_elements_.insert(at);
      if (!std::isfinite(seen.observed[i]) && not_finite_++ == 0) {
        first_position_ = position;
        first_element_ = at;
      }
    }
    ++rows_;
    wrong_rows_ += wrong;
    positions_.insert(position);
    if (wrong) wrong_positions_.insert(position);
  }
}

void ResidualPattern::add(const ResidualPattern& more) {
  if (more.rows_ == 0) return;
  same_width_ &= more.same_width_ && (width_ == 0 || width_ == more.width_);
  width_ = more.width_;
  heads_ = more.heads_;
  rows_ += more.rows_;
  wrong_rows_ += more.wrong_rows_;
  positions_.insert(more.positions_.begin(), more.positions_.end());
  wrong_positions_.insert(more.wrong_positions_.begin(), more.wrong_positions_.end());
  wrong_heads_.insert(more.wrong_heads_.begin(), more.wrong_heads_.end());
  wrong_elements_.insert(more.wrong_elements_.begin(), more.wrong_elements_.end());
  if (not_finite_ == 0) {
    first_position_ = more.first_position_;
    first_element_ = more.first_element_;
  }
  not_finite_ += more.not_finite_;
}

std::string ResidualPattern::text(Language language) const {
  std::vector<std::string> parts;
  const auto add_part = [&](const char* en, const char* es, const auto&... args) {
    parts.push_back(fmt::format(fmt::runtime(language == Language::spanish ? es : en), args...));
  };
  if (wrong_rows_ < rows_) {
    add_part("{} of {} rows, at positions {}", "{} de {} filas, en las posiciones {}", wrong_rows_, rows_,
             index_pattern(wrong_positions_, language));
  }
  if (positions_.contains(0) && !wrong_positions_.contains(0) && wrong_positions_.size() > 1) {
    add_part("position 0 is right, which no RoPE, mask or history can spoil",
             "la posición 0 es correcta, la que ni RoPE, ni máscara, ni historial estropean");
  }
  if (heads_ > 1 && std::ssize(wrong_heads_) < heads_) {
    add_part("heads {} of {}", "cabezas {} de {}", index_pattern(wrong_heads_, language), heads_);
  }
  if (same_width_ && !nearly_all(wrong_elements_.size(), width_)) {
    add_part("{} of {} elements of a row: {}", "{} de {} elementos de una fila: {}", wrong_elements_.size(),
             width_, index_pattern(wrong_elements_, language));
  }
  if (not_finite_ > 0) {
    add_part("{} values are NaN or infinite, the first at position {}, element {}",
             "{} valores son NaN o infinitos, el primero en la posición {}, elemento {}", not_finite_,
             first_position_, first_element_);
  }
  return fmt::format("{}", fmt::join(parts, "; "));
}

}  // namespace greta

#pragma once
// Rows of floats that nobody changes: copies share them.

#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace greta {

class SharedRows {
 public:
  SharedRows() = default;
  SharedRows(std::vector<float> values)
      : owned_(std::make_shared<const std::vector<float>>(std::move(values))), values_(*owned_) {}

  /// Rows that outlive this and all its copies, such as a bundle's.
  static SharedRows of(std::span<const float> values) {
    SharedRows rows;
    rows.values_ = values;
    return rows;
  }

  const float* begin() const { return values_.data(); }
  const float* end() const { return values_.data() + values_.size(); }
  const float* data() const { return values_.data(); }
  size_t size() const { return values_.size(); }
  bool empty() const { return values_.empty(); }
  const float& operator[](size_t i) const { return values_[i]; }

 private:
  std::shared_ptr<const std::vector<float>> owned_;
  std::span<const float> values_;
};

}  // namespace greta

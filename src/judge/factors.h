#pragma once
// Which recorded attribute tells the wrong recordings of a kind of stage from the right ones: B3.31's own
// question, asked of every attribute.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "verdict/verdict.h"

namespace greta {

/// Recordings of stages that were judged, with what is known of each.
class Trials {
 public:
  static constexpr int kRight = -1;

  struct Attribute {
    std::string name;
    bool is_number = false;  // decimal; values are then told as "64 and more" where that is shorter
  };

  /// Attributes that are told first stand first.
  explicit Trials(std::vector<Attribute> attributes);

  /// `values`: one an attribute. `cause`: the number of what is wrong with it, or kRight.
  void add(Stage stage, const std::vector<std::string>& values, int cause);

  /// Of each kind of stage with wrong recordings and right ones, the attribute whose values tell them apart;
  /// where none does, the two that do together. Kinds where none tells are left out.
  std::vector<Factor> factors() const;

  /// The same of one cause: what is wrong for another is neither.
  std::vector<Factor> factors(int cause) const;

 private:
  struct Trial {
    Stage stage = Stage::x_in;
    std::vector<int> values;  // of each attribute, an index into its texts
    int cause = kRight;
  };
  struct Texts {
    std::vector<std::string> texts;
    std::map<std::string, int> index;
  };
  struct Sorted {
    std::vector<const Trial*> wrong, right;
  };

  std::vector<Factor> factors_of(const std::map<StageKind, Sorted>& kinds) const;
  std::optional<Factor> factor_of(const Sorted& sorted) const;
  std::optional<Factor> split_by(const Sorted& sorted, const std::vector<size_t>& attributes) const;
  std::vector<std::string> values_at(const std::vector<size_t>& attributes, size_t index) const;
  std::optional<std::string> range(size_t attribute, const std::vector<bool>& wrong,
                                   const std::vector<bool>& right) const;

  std::vector<Attribute> attributes_;
  std::vector<Texts> texts_;  // of each attribute
  std::vector<Trial> trials_;
};

}  // namespace greta

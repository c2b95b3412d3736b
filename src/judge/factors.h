#pragma once
// Which recorded attribute tells the wrong recordings of a kind of stage from the right ones: B3.31's own
// question, asked of every attribute.

#include <string>
#include <utility>
#include <vector>

#include "verdict/verdict.h"

namespace greta {

/// One recording of a stage that was judged.
struct Trialled {
  Stage stage = Stage::x_in;
  std::vector<std::pair<std::string, std::string>> attributes;  // name, value; of all trials the same names
  bool wrong = false;
};

/// Of each kind of stage with wrong recordings and right ones, the attribute whose values tell them apart;
/// where none does, the two that do together. The first names are preferred. Kinds where none tells are left
/// out.
std::vector<Factor> factors_of(const std::vector<Trialled>& trials);

}  // namespace greta

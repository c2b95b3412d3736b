#pragma once
// How the errors of one recording of a stage are spread: what one wants to see of a place on the map.

#include <array>
#include <cstdint>
#include <vector>

namespace greta {

/// Upper edges of the histogram's bins, in units of the bound. The first holds exact values, and one more bin
/// all that is above the last edge or not finite.
inline constexpr std::array kErrorEdges = {0.0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75,
                                           1.0, 2.0,   10.0, 1e2,  1e3, 1e4,  1e6};

struct ErrorPicture {
  struct Value {
    int64_t element = 0;  // in its row
    float observed = 0;
    double expected = 0, bound = 0;  // by the oracle
  };

  std::vector<int64_t> positions;  // of the rows shown, the worst among them
  int64_t rows = 0;                // of all that were judged
  int64_t heads = 1;
  std::vector<double> ratios;  // [positions, heads]: largest |observed - oracle| / bound
  std::array<int64_t, kErrorEdges.size() + 1> histogram{};  // elements of all judged rows
  int64_t position = 0;                                     // of the worst row
  std::vector<Value> values;  // of that row: the worst element and those beside it
};

}  // namespace greta

// Rows that lie in another order than they are read: the oracle reads those of a tensor that lies as it is
// read.

#include <gtest/gtest.h>

#include <vector>

#include "numerics/dequant.h"

namespace greta {
namespace {

TEST(RowOrder, OfAHeadInHalves) {
  const RowOrder order{8};
  const std::vector<uint64_t> lies = {0, 4, 1, 5, 2, 6, 3, 7};
  for (uint64_t row = 0; row < 24; ++row) EXPECT_EQ(order.stored(row), row / 8 * 8 + lies[row % 8]);
  EXPECT_EQ(RowOrder{}.stored(5), 5u);
}

TEST(RowOrder, TheOracleReadsRowsThroughIt) {
  std::vector<float> values(8 * 3);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  Tensor tensor;
  tensor.n_dims = 2;
  tensor.dims = {3, 8, 1, 1};
  tensor.data = std::as_bytes(std::span(values));
  tensor.order = {4};
  std::vector<double> row(3);
  decode_row(tensor, 5, row);  // the second head's row 1 is the first of its second half
  EXPECT_EQ(row, (std::vector<double>{18, 19, 20}));
}

}  // namespace
}  // namespace greta

// Ops of a mixture of experts.

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "kernels/expert_matmul.h"
#include "kernels/kernel_cases.h"

namespace greta::test {
namespace {

constexpr int64_t kExperts = 7, kUsed = 3;

const KernelInfo* expert_kernel(Isa isa, TensorType type, Route route, Shape shape) {
  return find_kernel(cpu_kernels(), {OpKind::expert_matmul, isa, type, route, shape}, nullptr);
}

/// Distinct experts for each row; of the first rows always the same ones, so that one expert has many.
Matrix random_choice(int64_t rows, uint64_t seed) {
  Matrix chosen(rows, kUsed);
  Random random(seed);
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<int64_t> all(kExperts);
    std::iota(all.begin(), all.end(), 0);
    for (int64_t i = 0; i < kUsed; ++i) {
      const int64_t from = i + static_cast<int64_t>(random.uniform(0, 1) * static_cast<float>(kExperts - i));
      if (r % 3 != 0) std::swap(all[static_cast<size_t>(i)], all[static_cast<size_t>(from)]);
      chosen.at(r, i) = static_cast<float>(all[static_cast<size_t>(i)]);
    }
  }
  return chosen;
}

struct Experts {
  std::vector<PackedWeight> weights;
  Experts(TensorType type, int64_t n, int64_t k) {
    for (int64_t e = 0; e < kExperts; ++e)
      weights.push_back(random_weight(type, n, k, static_cast<uint64_t>(100 + e)));
  }
};

void run_experts(const KernelInfo& kernel, const Experts& experts, View x, View chosen, View out,
                 int parts = 1) {
  KernelArgs args;
  args.in = {x, chosen};
  args.out = out;
  args.weight = experts.weights.data();
  args.params.experts = kExperts;
  args.kernel = &kernel;
  Launch launch;
  args.launch = &launch;
  const Matrix scratch(parts, expert_scratch_floats(args));
  args.scratch = scratch.view();
  run(kernel, args, parts);
  ASSERT_NE(launch.kernel, nullptr);
  EXPECT_EQ(kernel.name, launch.kernel);
  EXPECT_EQ(launch.count, 1u);
}

class ExpertMatmul : public testing::TestWithParam<std::tuple<Isa, Route>> {
 protected:
  Isa isa() const { return std::get<0>(GetParam()); }
  Route route() const { return std::get<1>(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Kernels, ExpertMatmul,
                         testing::Combine(testing::ValuesIn(isas()),
                                          testing::Values(Route::vector, Route::matrix)),
                         [](const auto& test) {
                           return std::string(name(std::get<0>(test.param))) + "_" +
                                  std::string(name(std::get<1>(test.param)));
                         });

/// Of each row and chosen expert the bits of its matrix alone, in every type. Tolerance: none. `of_each`: an
/// input of its own for each chosen expert, of an odd length where rows can have one.
TEST_P(ExpertMatmul, EachProductHasTheBitsOfTheExpertsMatrixAlone) {
  for (const TensorType type : kTypes) {
    const KernelInfo* gemm = expert_kernel(isa(), type, route(), Shape::gemm);
    if (gemm == nullptr) continue;
    const KernelInfo& one = *matmul_kernel(isa(), type, route(), Shape::gemv);
    const bool plain = block_code(type).bits == 0;
    for (const bool of_each : {false, true}) {
      const int64_t n = 37, k = plain ? 45 : row_length(type, 96);
      const Experts experts(type, n, k);
      for (const int64_t s : {1, 2, 9, 70, 200}) {
        // A row of all inputs in the kernel's format, and each input by itself.
        const Matrix plain_x = Matrix::random(s, of_each ? kUsed * k : k, 5);
        const Matrix x = activations(*gemm, plain_x), chosen = random_choice(s, 6);
        Matrix got(s, kUsed * n), want(s, kUsed * n);
        run_experts(*gemm, experts, x.view(), chosen.view(), got.view());
        for (int64_t r = 0; r < s; ++r) {
          for (int64_t slot = 0; slot < kUsed; ++slot) {
            Matrix alone(1, k);
            std::memcpy(alone.view().data, &plain_x.view().row(r)[of_each ? slot * k : 0],
                        static_cast<size_t>(k) * 4);
            Matrix result(1, n);
            matmul(one, experts.weights[static_cast<size_t>(chosen.at(r, slot))],
                   activations(one, alone).view(), result.view());
            std::memcpy(&want.at(r, slot * n), result.view().data, static_cast<size_t>(n) * 4);
          }
        }
        ASSERT_EQ(difference(want.view(), got.view()), "") << name(type) << " S " << s << " " << of_each;
        if (s != 1) continue;
        const KernelInfo& gemv = *expert_kernel(isa(), type, route(), Shape::gemv);
        Matrix row(1, kUsed * n);
        run_experts(gemv, experts, x.view(), chosen.view(), row.view());
        ASSERT_EQ(difference(want.view(), row.view()), "") << name(type) << " gemv " << of_each;
      }
    }
  }
}

/// A faulty choice may name one twice: a GEMV takes one row all the same. Tolerance: none.
TEST_P(ExpertMatmul, AnExpertThatIsNamedTwiceIsMultipliedTwice) {
  const KernelInfo& gemv = *expert_kernel(isa(), TensorType::q8_0, route(), Shape::gemv);
  const Experts experts(TensorType::q8_0, 20, 64);
  const Matrix x = activations(gemv, Matrix::random(1, 64, 7));
  Matrix chosen(1, kUsed), got(1, kUsed * 20);
  for (int64_t i = 0; i < kUsed; ++i) chosen.at(0, i) = 4;
  run_experts(gemv, experts, x.view(), chosen.view(), got.view());
  for (int64_t i = 0; i < 20; ++i) {
    EXPECT_FALSE(std::isnan(got.at(0, i)));
    EXPECT_EQ(got.at(0, i), got.at(0, 20 + i));
    EXPECT_EQ(got.at(0, i), got.at(0, 40 + i));
  }
}

TEST_P(ExpertMatmul, ThreadsDoNotChangeABit) {
  const KernelInfo* gemm = expert_kernel(isa(), TensorType::q8_0, route(), Shape::gemm);
  ASSERT_NE(gemm, nullptr);
  for (const int64_t n : {5, 100, 900}) {
    const Experts experts(TensorType::q8_0, n, 64);
    const Matrix x = activations(*gemm, Matrix::random(90, 64, 7)), chosen = random_choice(90, 8);
    Matrix want(90, kUsed * n);
    run_experts(*gemm, experts, x.view(), chosen.view(), want.view());
    for (const int parts : {2, 3, 64}) {
      Matrix got(90, kUsed * n);
      run_experts(*gemm, experts, x.view(), chosen.view(), got.view(), parts);
      ASSERT_EQ(difference(want.view(), got.view()), "") << n << " " << parts;
    }
  }
}

class ExpertRows : public testing::TestWithParam<Isa> {
 protected:
  Matrix made(OpKind op, int64_t cols, const Matrix& a, const Matrix* b, OpParams params = {},
              int parts = 1) const {
    Matrix out(a.view().rows, cols);
    KernelArgs args;
    args.in[0] = a.view();
    if (b != nullptr) args.in[1] = b->view();
    args.out = out.view();
    args.params = params;
    run(*row_kernel(op, GetParam()), args, parts);
    return out;
  }
};

INSTANTIATE_TEST_SUITE_P(Isas, ExpertRows, testing::ValuesIn(isas()),
                         [](const auto& test) { return std::string(name(test.param)); });

TEST_P(ExpertRows, TheHighestAreChosenTheLowerNumberFirstAndNanLast) {
  Matrix scores(4, 5);
  const float rows[4][5] = {
      {1, 5, 3, 5, 2}, {0, 0, 0, 0, 0}, {NAN, -1, NAN, -2, NAN}, {-1, -3, NAN, 4, -INFINITY}};
  const float want[4][3] = {{1, 3, 2}, {0, 1, 2}, {1, 3, 0}, {3, 0, 1}};
  for (int64_t r = 0; r < 4; ++r) std::copy_n(rows[r], 5, scores.view().row(r));
  for (const int parts : {1, 3}) {
    const Matrix got = made(OpKind::choose_experts, 3, scores, nullptr, {}, parts);
    for (int64_t r = 0; r < 4; ++r) {
      for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(got.at(r, i), want[r][i]) << r << " " << i;
    }
  }
}

TEST_P(ExpertRows, TheChoiceIsThatOfASort) {
  const Matrix scores = Matrix::random(50, 67, 9);
  const Matrix got = made(OpKind::choose_experts, 8, scores, nullptr);
  for (int64_t r = 0; r < 50; ++r) {
    std::vector<int64_t> order(67);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return scores.at(r, a) > scores.at(r, b); });
    for (int64_t i = 0; i < 8; ++i)
      EXPECT_EQ(got.at(r, i), static_cast<float>(order[static_cast<size_t>(i)]));
  }
}

/// Tolerance: exp (2 ulp) with its rounded argument up to 20, sums of 67 positive terms, a division, a
/// product: 2^-20 of each weight.
TEST_P(ExpertRows, WeightsAreTheSoftmaxOfAllOrOfTheChosen) {
  const Matrix scores = Matrix::random(20, 67, 10, 10);
  const Matrix chosen = made(OpKind::choose_experts, 18, scores, nullptr);  // more than 16 lanes
  for (const bool sum_to_1 : {false, true}) {
    const Matrix got = made(OpKind::expert_weights, 18, scores, &chosen, {.sum_to_1 = sum_to_1});
    for (int64_t r = 0; r < 20; ++r) {
      double sum = 0;
      const auto power = [&](float score) { return std::exp(static_cast<double>(score)); };
      for (int64_t i = 0; i < (sum_to_1 ? 18 : 67); ++i)
        sum += power(scores.at(r, sum_to_1 ? static_cast<int64_t>(chosen.at(r, i)) : i));
      for (int64_t i = 0; i < 18; ++i) {
        const double want = power(scores.at(r, static_cast<int64_t>(chosen.at(r, i)))) / sum;
        EXPECT_NEAR(static_cast<double>(got.at(r, i)), want, 0x1p-20 * want) << r << " " << i;
      }
    }
  }
}

/// Tolerance: a rounding for each of 3 FMAs, of sums below 3: 3 * 2^-24 * 3. The gate: exp, sum, division,
/// product, 8 * 2^-24 of a value below 1.
TEST_P(ExpertRows, OutputsAreAddedByTheirWeightsAndGated) {
  const Matrix x = Matrix::random(6, 3 * 41, 11), weights = Matrix::random(6, 3, 12);
  const Matrix sum = made(OpKind::combine_experts, 41, x, &weights);
  const Matrix gate = Matrix::random(6, 1, 13, 5), values = Matrix::random(6, 41, 14);
  const Matrix gated = made(OpKind::sigmoid_mul, 41, values, &gate);
  for (int64_t r = 0; r < 6; ++r) {
    const double share = 1 / (1 + std::exp(-static_cast<double>(gate.at(r, 0))));
    for (int64_t i = 0; i < 41; ++i) {
      double want = 0;
      for (int64_t slot = 0; slot < 3; ++slot)
        want += static_cast<double>(x.at(r, slot * 41 + i)) * static_cast<double>(weights.at(r, slot));
      EXPECT_NEAR(static_cast<double>(sum.at(r, i)), want, 9 * 0x1p-24);
      EXPECT_NEAR(static_cast<double>(gated.at(r, i)), share * static_cast<double>(values.at(r, i)),
                  8 * 0x1p-24);
    }
  }
}

TEST_P(ExpertRows, EveryIsaGivesTheBitsOfTheScalarBuild) {
  const auto same_as_scalar = [&](OpKind op, int64_t cols, const Matrix& a, const Matrix* b,
                                  OpParams params) {
    Matrix want(a.view().rows, cols);
    KernelArgs args;
    args.in = {a.view(), b == nullptr ? View{} : b->view()};
    args.out = want.view();
    args.params = params;
    run(*row_kernel(op, Isa::scalar), args);
    EXPECT_EQ(difference(want.view(), made(op, cols, a, b, params).view()), "") << name(op);
  };
  const Matrix scores = Matrix::random(9, 67, 15, 8),
               chosen = made(OpKind::choose_experts, 5, scores, nullptr);
  const Matrix x = Matrix::random(9, 5 * 43, 16), gate = Matrix::random(9, 1, 17, 3);
  same_as_scalar(OpKind::choose_experts, 5, scores, nullptr, {});
  same_as_scalar(OpKind::expert_weights, 5, scores, &chosen, {});
  same_as_scalar(OpKind::expert_weights, 5, scores, &chosen, {.sum_to_1 = true});
  same_as_scalar(OpKind::combine_experts, 43, x, &chosen, {});
  same_as_scalar(OpKind::sigmoid_mul, 5 * 43, x, &gate, {});
}

}  // namespace
}  // namespace greta::test

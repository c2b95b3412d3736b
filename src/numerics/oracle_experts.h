#pragma once
// The oracle of a mixture of experts: the choice, its weights, the chosen experts' products, their sum.
// Recorded numbers of experts are operands: what follows a choice is judged by the choice that was made.

#include <cstdint>
#include <span>
#include <vector>

#include "model/model.h"
#include "numerics/oracle.h"

namespace greta::oracle {

/// How a token's experts are chosen and weighed.
struct ExpertShape {
  int64_t experts = 1, used = 1;
  bool sum_to_1 = false;  // the weights of the chosen are divided by their sum
  ExpertChoice choice = {};
};

/// 1 / (1 + e^-x) of each.
Expected sigmoid(std::span<const float> x, const Roundings& roundings);

/// The experts with the highest scores of each row, the highest first; of equal ones the lower number. scores
/// [rows, experts]; [rows, used], bound 0. Where the shape says so, of the best groups alone. `biases` (one
/// an expert; or none) are added to the scores first.
Expected choose_experts(std::span<const float> scores, const ExpertShape& shape,
                        std::span<const double> biases = {});

/// The chosen experts of each row [rows, used] in the order of their scores; where the scores can't be told
/// from those of the right choice, the right one in the place of the recorded. It then equals
/// choose_experts() just where rounding explains the choice. A row with a number that is no expert's, or one
/// twice, stays as it is. `off`: how far the scores may be; empty: they are known. `probabilities`: what an
/// engine that compares probabilities holds them in.
std::vector<float> settle_ties(std::span<const float> numbers, std::span<const float> scores,
                               std::span<const double> off, const ExpertShape& shape,
                               Format probabilities = Format::f32, std::span<const double> biases = {});

/// Softmax of the scores [rows, experts], of the chosen ones [rows, used]; divided by their sum if the shape
/// says so. `sum_lanes` as in softmax(). Of sigmoids: the scores are the probabilities. Times the shape's
/// scale.
Expected expert_weights(std::span<const float> scores, std::span<const float> numbers,
                        const ExpertShape& shape, int sum_lanes, bool fast_math = false);

/// matmul() by each chosen expert's matrix of `experts` [experts, n, k], of x [rows, k] or, for each chosen
/// one, [rows, used, k]; [rows, used, n]. Of a number that is no expert's nothing is told. `biases`
/// [experts, n], or none.
Expected expert_matmul(const Tensor& experts, std::span<const float> x, std::span<const float> numbers,
                       int64_t used, const Roundings& roundings, const Tensor* biases = nullptr);

/// The same where each of `heads` matrices has a slice of the row, of which it reads the first k: x [rows,
/// heads * width]; [rows, heads * n].
Expected head_matmul(const Tensor& heads, std::span<const float> x, int64_t rows, const Roundings& roundings);

/// Of each head all of its slice of `first`, then the last `from_end` values of its slice of `last`.
Expected join_heads(std::span<const float> first, std::span<const float> last, int64_t rows, int64_t heads,
                    int64_t from_end);

/// Sum over the chosen of weight times x [rows, used, n]; [rows, n]. Products and sums are rounded to
/// `between` and to the accumulator's format, in any order.
Expected combine_experts(std::span<const float> x, std::span<const float> weights, int64_t used,
                         const Roundings& roundings);

/// x [rows, n] * sigmoid(gate [rows]).
Expected sigmoid_mul(std::span<const float> x, std::span<const float> gate, const Roundings& roundings);

}  // namespace greta::oracle

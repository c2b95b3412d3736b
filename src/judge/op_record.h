#pragma once
// A recorded op with its operands, as the judge sees it.

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bundle/op.h"
#include "model/model.h"
#include "numerics/oracle.h"

namespace greta {

/// Row-major. Of a weight of the model's file `values` is empty until decoded().
struct OpTensor {
  std::vector<int64_t> shape;
  std::span<const float> values;
  const Tensor* weight = nullptr;
  std::shared_ptr<const std::vector<float>> owned = {};

  int64_t extent(size_t from_the_end) const {
    return from_the_end < shape.size() ? shape[shape.size() - 1 - from_the_end] : 1;
  }
  int64_t width() const { return extent(0); }
  int64_t count() const;
  int64_t rows() const { return width() <= 0 ? 0 : count() / width(); }
};

struct OpRecord {
  const Event* event = nullptr;
  const OpInfo* info = nullptr;
  std::vector<OpTensor> inputs;
  OpTensor output;
  std::string where;  // for messages

  double number(const std::string& attribute, double fallback) const {
    return number_of(*event, attribute, fallback);
  }
  bool has_input(size_t i) const { return i < inputs.size(); }
  /// Input i with its values, decoded where it is a weight of the model's file.
  const OpTensor& input(size_t i) const { return inputs.at(i); }
  /// An input Error: "WHERE: PROBLEM".
  [[noreturn]] void fail(const std::string& problem) const;
};

/// The op with its operands. nullopt with `why` when it is not known or data were not kept; an input Error
/// for a weight that the model's file lacks, or operands whose shapes do not fit each other.
std::optional<OpRecord> op_record(const Bundle& bundle, const Event& event,
                                  const std::map<const Event*, std::vector<OpInput>>& inputs,
                                  const Model* model, std::string* why);

/// A weight, the rows that it is multiplied with, and where their results are: an op of several matrices
/// (experts, heads) is several of these.
struct Product {
  Tensor weight;        // [n, k]
  int64_t matrix = -1;  // which of several; -1: there is one
  std::vector<float> x;
  std::vector<size_t> results;  // rows of the output
};
std::vector<Product> products_of(const OpRecord& record);

/// What the op ought to have given from its own inputs. `observed` is what is to be held against it: the
/// output's values, or what they stand for (argsort and top_k: the values at the indices).
struct OpExpected {
  Expected expected;
  std::vector<float> observed;
};
OpExpected solve_op(const OpRecord& record, const Roundings& roundings);

/// Where gate and up are the halves of a row.
void halves_of(const OpRecord& op, std::vector<float>& gate, std::vector<float>& up);
oracle::RopeShape rope_shape(const OpRecord& op);
std::vector<int64_t> rope_positions(const OpRecord& op);

}  // namespace greta

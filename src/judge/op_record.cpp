#include "judge/op_record.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <map>

#include "base/error.h"
#include "numerics/dequant.h"

namespace greta {
namespace {

std::string shape_of(const OpTensor& tensor) { return fmt::format("[{}]", fmt::join(tensor.shape, ", ")); }

OpTensor weight_tensor(const Tensor& weight, bool decode) {
  OpTensor tensor;
  for (int d = weight.n_dims; d > 0; --d)
    tensor.shape.push_back(static_cast<int64_t>(weight.dims[static_cast<size_t>(d - 1)]));
  tensor.weight = &weight;
  if (!decode) return tensor;
  std::vector<float> values;
  std::vector<double> row(weight.dims[0]);
  for (int64_t r = 0; r < row_count(weight); ++r) {
    decode_row(weight, r, row);
    for (const double value : row) values.push_back(static_cast<float>(value));
  }
  tensor.owned = std::make_shared<const std::vector<float>>(std::move(values));
  tensor.values = *tensor.owned;
  return tensor;
}

/// Matrices are multiplied by as they are stored; all else is small.
bool reads_blocks(Op op, size_t input) {
  return input == 0 && (op == Op::mul_mat || op == Op::mul_mat_id || op == Op::get_rows);
}

}  // namespace

int64_t OpTensor::count() const {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

void OpRecord::fail(const std::string& problem) const {
  std::vector<std::string> shapes;
  for (const OpTensor& tensor : inputs) shapes.push_back(shape_of(tensor));
  fail_input("{}: {}; inputs {}, output {}", where, problem, fmt::join(shapes, " "), shape_of(output));
}

std::optional<OpRecord> op_record(const Bundle& bundle, const Event& event,
                                  const std::map<const Event*, std::vector<OpInput>>& inputs,
                                  const Model* model, std::string* why) {
  OpRecord record;
  record.event = &event;
  record.info = find_op(event.op);
  if (record.info == nullptr) {
    *why = fmt::format("{} is no op that GRETA knows", event.op);
    return std::nullopt;
  }
  record.where = fmt::format("{}: op {} of {} {}", bundle.path,
                             event.name.empty() ? event.op : event.op + " \"" + event.name + "\"", event.cell,
                             event.phase);
  const std::vector<float>* data = bundle.data(event);
  if (data == nullptr) {
    *why = "its data were not kept";
    return std::nullopt;
  }
  record.output = {event.shape, *data};
  for (const OpInput& input : inputs.at(&event)) {
    if (input.event != nullptr) {
      const std::vector<float>* values = bundle.data(*input.event);
      if (values == nullptr) {
        *why = "the data of an input were not kept";
        return std::nullopt;
      }
      record.inputs.push_back({input.event->shape, *values});
      continue;
    }
    if (model == nullptr)
      fail_input("{}: reads the weight {}; give the model with -m", record.where, input.weight);
    const Tensor* weight = model->file.find_tensor(input.weight);
    if (weight == nullptr)
      fail_input("{}: {} has no tensor {}", record.where, model->file.path(), input.weight);
    record.inputs.push_back(weight_tensor(*weight, !reads_blocks(record.info->op, record.inputs.size())));
  }
  for (const OpTensor& tensor : record.inputs) {
    if (tensor.count() <= 0) record.fail("an input is empty");
  }
  if (record.output.count() <= 0) record.fail("its output is empty");
  return record;
}

std::vector<Product> products_of(const OpRecord& record) {
  const OpTensor& w = record.input(0);
  const OpTensor& x = record.input(1);
  const int64_t k = w.extent(0), n = w.extent(1), matrices = w.count() / (k * n);
  if (x.width() != k || record.output.width() != n)
    record.fail("weight [.., n, k], x [.., k], output [.., n]");
  const auto matrix = [&](int64_t at) {
    Tensor part;
    part.name = "weight";
    part.n_dims = 2;
    part.dims = {static_cast<uint64_t>(k), static_cast<uint64_t>(n), 1, 1};
    const std::span bytes = w.weight != nullptr ? w.weight->data : std::as_bytes(w.values);
    if (w.weight != nullptr) part.type = w.weight->type, part.order = w.weight->order;
    const size_t size = bytes.size() / static_cast<size_t>(matrices);
    part.data = bytes.subspan(static_cast<size_t>(at) * size, size);
    return part;
  };
  const int64_t rows = record.output.rows();
  std::map<int64_t, Product> by_matrix;
  const auto add = [&](int64_t at, int64_t x_row, int64_t result) {
    Product& product =
        by_matrix.try_emplace(at, Product{matrix(at), matrices > 1 ? at : -1, {}, {}}).first->second;
    const auto row = x.values.subspan(static_cast<size_t>(x_row * k), static_cast<size_t>(k));
    product.x.insert(product.x.end(), row.begin(), row.end());
    product.results.push_back(static_cast<size_t>(result));
  };
  if (record.info->op == Op::mul_mat_id) {
    const OpTensor& ids = record.input(2);
    if (ids.count() != rows || rows % ids.width() != 0) record.fail("an id for each row of the output");
    const bool shared = x.rows() * ids.width() == rows;  // one row of x for all experts of a token
    if (!shared && x.rows() != rows) record.fail("x has a row for each token, or for each token and expert");
    for (int64_t r = 0; r < rows; ++r) {
      const double id = ids.values[static_cast<size_t>(r)];
      if (!(id >= 0 && id < static_cast<double>(matrices)) || id != std::floor(id))
        record.fail(fmt::format("expert {} of {}", id, matrices));
      add(static_cast<int64_t>(id), shared ? r / ids.width() : r, r);
    }
  } else {
    if (x.rows() != rows) record.fail("as many rows of x as of the output");
    const int64_t batches = x.shape.size() > 2 && matrices > 1 ? x.count() / (x.extent(1) * k) : 1;
    if (batches % matrices != 0) record.fail("matrices that share the batches of x evenly");
    for (int64_t r = 0; r < rows; ++r) add(r / (rows / batches) / (batches / matrices), r, r);
  }
  std::vector<Product> products;
  for (auto& [at, product] : by_matrix) products.push_back(std::move(product));
  return products;
}

}  // namespace greta

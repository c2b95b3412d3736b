// A row per op: what it ought to give, from its recorded inputs.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "judge/op_record.h"
#include "numerics/activation.h"
#include "numerics/oracle_op.h"

namespace greta {
namespace {

using Values32 = std::vector<float>;

void demand(const OpRecord& op, bool fits, const char* what) {
  if (!fits) op.fail(what);
}

/// A count that an attribute gives.
int64_t whole(const OpRecord& op, const std::string& attribute, int64_t fallback) {
  const double number = op.number(attribute, static_cast<double>(fallback));
  if (!(number >= 0 && number < 1e9) || number != std::floor(number))
    op.fail(fmt::format("the attribute {} is {}; must be a whole number from 0", attribute, number));
  return static_cast<int64_t>(number);
}

/// b's values as often as a has room for them.
Values32 repeated(const OpRecord& op, const OpTensor& b, int64_t count) {
  demand(op, b.count() > 0 && count % b.count() == 0, "b must fit a, or be repeated a whole number of times");
  Values32 all;
  while (std::ssize(all) < count) all.insert(all.end(), b.values.begin(), b.values.end());
  return all;
}

Expected exactly_as(std::span<const float> values) {
  return {{values.begin(), values.end()}, std::vector<double>(values.size())};
}

Expected product(const OpRecord& op, const Roundings& roundings) {
  const size_t width = static_cast<size_t>(op.output.width());
  Expected all{std::vector<double>(op.output.values.size()), std::vector<double>(op.output.values.size())};
  for (const Product& part : products_of(op)) {
    const Expected rows = oracle::matmul(part.weight, part.x, std::ssize(part.results), roundings);
    for (size_t r = 0; r < part.results.size(); ++r) {
      std::copy_n(rows.value.begin() + static_cast<std::ptrdiff_t>(r * width), width,
                  all.value.begin() + static_cast<std::ptrdiff_t>(part.results[r] * width));
      std::copy_n(rows.bound.begin() + static_cast<std::ptrdiff_t>(r * width), width,
                  all.bound.begin() + static_cast<std::ptrdiff_t>(part.results[r] * width));
    }
  }
  return all;
}

std::vector<int32_t> ids_of(const OpRecord& op, const OpTensor& tensor, int64_t most) {
  std::vector<int32_t> ids;
  for (const float id : tensor.values) {
    demand(op, id >= 0 && static_cast<double>(id) < static_cast<double>(most) && id == std::floor(id),
           "an id that is no row");
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

Tensor as_weight(const OpTensor& tensor, int64_t n, int64_t k) {
  if (tensor.weight != nullptr) return *tensor.weight;
  Tensor weight;
  weight.name = "weight";
  weight.n_dims = n == 1 ? 1 : 2;
  weight.dims = {static_cast<uint64_t>(k), static_cast<uint64_t>(n), 1, 1};
  weight.data = std::as_bytes(tensor.values);
  return weight;
}

Expected rows_of_table(const OpRecord& op, const Roundings& roundings) {
  const OpTensor& table = op.input(0);
  demand(op, op.output.width() == table.width(), "rows as wide as the table's");
  const Tensor weight = as_weight(table, table.rows(), table.width());
  return oracle::embed(weight, ids_of(op, op.input(1), table.rows()), 1, roundings.between);
}

Expected norm(const OpRecord& op, const Roundings& roundings) {
  const OpTensor& x = op.input(0);
  for (size_t i = 1; i < op.inputs.size(); ++i)
    demand(op, op.input(i).count() == x.width(), "a weight as long as a row");
  const double eps = op.number("eps", 0);
  if (op.info->op == Op::l2_norm) return oracle::l2_norm(x.values, x.width(), eps);
  const auto part = [&](size_t i) { return op.has_input(i) ? op.input(i).values : std::span<const float>{}; };
  if (op.info->op == Op::norm) return oracle::layer_norm(x.values, x.width(), part(1), part(2), eps);
  const Values32 ones(static_cast<size_t>(x.width()), 1);
  OpTensor weight{{x.width()}, op.has_input(1) ? op.input(1).values : std::span<const float>(ones)};
  return oracle::rms_norm(x.values, as_weight(weight, 1, x.width()), eps, 1, roundings.between);
}

Expected rope(const OpRecord& op, const Roundings& roundings) {
  const OpTensor& x = op.input(0);
  const std::vector<int64_t> positions = rope_positions(op);
  oracle::RopeShape shape = rope_shape(op);
  Tensor factors;
  if (op.has_input(2)) {
    demand(op, op.input(2).count() == shape.rope_dims / 2, "a factor for each pair");
    factors = as_weight(op.input(2), 1, shape.rope_dims / 2);
    factors.type = TensorType::f32;
    shape.factors = &factors;
  }
  shape.angle_rounding = 3 * bounds::kU;
  shape.between = roundings.between;
  Expected all;
  const size_t width = static_cast<size_t>(shape.heads * shape.head_dim);
  for (size_t r = 0; r < positions.size(); ++r) {
    const Expected row = oracle::rope(x.values.subspan(r * width, width), shape, positions[r]);
    all.value.insert(all.value.end(), row.value.begin(), row.value.end());
    all.bound.insert(all.bound.end(), row.bound.begin(), row.bound.end());
  }
  return all;
}

/// [rows, heads, n], mask and sinks at `next`.
oracle::ScoreShape score_shape(const OpRecord& op, int64_t rows, int64_t heads, int64_t n, size_t next) {
  oracle::ScoreShape shape{.rows = rows,
                           .heads = heads,
                           .n = n,
                           .scale = op.number("scale", 1),
                           .softcap = op.number("softcap", 0),
                           .causal = op.number("causal", 0) != 0};
  if (op.has_input(next)) {
    shape.mask = op.input(next).values;
    const int64_t size = std::ssize(shape.mask);
    demand(op, size == rows * n || size == rows * heads * n, "a mask [rows, n] or [rows, heads, n]");
  }
  if (op.has_input(next + 1)) {
    shape.sinks = op.input(next + 1).values;
    demand(op, std::ssize(shape.sinks) == heads, "a sink for each head");
  }
  return shape;
}

Expected soft_max(const OpRecord& op) {
  const OpTensor& x = op.input(0);
  const int64_t heads = x.shape.size() < 3 ? 1 : x.extent(1);
  return oracle::soft_max(x.values, score_shape(op, x.rows() / heads, heads, x.width(), 1));
}

Expected flash(const OpRecord& op, const Roundings& roundings) {
  const OpTensor &q = op.input(0), &k = op.input(1), &v = op.input(2);
  const int64_t heads = q.extent(1), kv_heads = k.extent(1), n = k.rows() / kv_heads;
  demand(op,
         q.shape.size() == 3 && k.shape.size() == 3 && v.shape.size() == 3 && q.width() == k.width() &&
             v.extent(1) == kv_heads && v.rows() == k.rows() && heads % kv_heads == 0 &&
             op.output.count() == q.rows() * v.width(),
         "q [rows, heads, d], k and v [positions, kv heads, d]");
  return oracle::flash_attention(q.values, k.values, v.values, kv_heads,
                                 score_shape(op, q.rows() / heads, heads, n, 3), roundings);
}

Expected glu(const OpRecord& op) {
  Values32 gate(op.input(0).values.begin(), op.input(0).values.end()), up;
  if (op.has_input(1)) {
    demand(op, op.input(1).count() == op.input(0).count(), "gate and up of one shape");
    up.assign(op.input(1).values.begin(), op.input(1).values.end());
  } else {
    halves_of(op, gate, up);
  }
  const std::string word = word_of(*op.event, "activation", "");
  if (word == "swiglu_oai")
    return oracle::swiglu_oai(gate, up, op.number("alpha", 1.702), op.number("limit", 7));
  const oracle::UnaryFunction* function = oracle::find_unary(word);
  if (function == nullptr)
    op.fail(fmt::format("activation \"{}\"; known are {}, swiglu_oai", word, oracle::unary_names()));
  return oracle::glu(*function, gate, up);
}

Expected one_function(const OpRecord& op) {
  const std::string word = word_of(*op.event, "activation", "");
  const oracle::UnaryFunction* function = oracle::find_unary(word);
  if (function == nullptr)
    op.fail(fmt::format("activation \"{}\"; known are {}", word, oracle::unary_names()));
  return oracle::unary(*function, op.input(0).values);
}

/// Indices stand for the values there: equal values may change places. What is no index, or comes twice, is
/// NaN.
OpExpected sorted(const OpRecord& op) {
  const OpTensor& x = op.input(0);
  const int64_t k = op.output.width();
  demand(op, op.output.rows() == x.rows() && k <= x.width(), "as many rows as x, of at most as many indices");
  const std::string order = word_of(*op.event, "order", op.info->op == Op::top_k ? "desc" : "asc");
  demand(op, order == "asc" || order == "desc", "order is asc or desc");
  const auto sort = [&](auto begin, auto end) {
    order == "asc" ? std::sort(begin, end) : std::sort(begin, end, std::greater<>());
  };
  OpExpected result;
  for (int64_t r = 0; r < x.rows(); ++r) {
    const auto row = x.values.subspan(static_cast<size_t>(r * x.width()), static_cast<size_t>(x.width()));
    Values32 right(row.begin(), row.end()), seen;
    sort(right.begin(), right.end());
    std::set<float> taken;
    for (int64_t i = 0; i < k; ++i) {
      const float at = op.output.values[static_cast<size_t>(r * k + i)];
      const bool good =
          at >= 0 && at < static_cast<float>(x.width()) && at == std::floor(at) && taken.insert(at).second;
      seen.push_back(good ? row[static_cast<size_t>(at)] : NAN);
    }
    // The largest k may come in any order.
    if (op.info->op == Op::top_k && std::ranges::none_of(seen, [](float s) { return std::isnan(s); }))
      sort(seen.begin(), seen.end());
    for (int64_t i = 0; i < k; ++i) result.expected.value.push_back(right[static_cast<size_t>(i)]);
    result.observed.insert(result.observed.end(), seen.begin(), seen.end());
  }
  result.expected.bound.resize(result.expected.value.size());
  return result;
}

/// Rows as they are stored: rounded once to the output's format.
Expected stored(const OpRecord& op, std::span<const float> x) {
  const Format format = format_from_name(op.event->dtype).value_or(Format::f32);
  if (format == Format::f32 || format == Format::f64) return exactly_as(x);
  Expected both = oracle::kv_write(x, {}, format, {});
  return both;
}

Expected set_rows(const OpRecord& op) {
  const OpTensor &before = op.input(0), &rows = op.input(1), &ids = op.input(2);
  demand(op,
         before.count() == op.output.count() && rows.width() == before.width() && ids.count() == rows.rows(),
         "before as the output, rows as wide as it, an id for each");
  Expected all = exactly_as(before.values);
  const size_t width = static_cast<size_t>(rows.width());
  const std::vector<int32_t> at = ids_of(op, ids, before.rows());
  for (size_t r = 0; r < at.size(); ++r) {
    const Expected row = stored(op, rows.values.subspan(r * width, width));
    const auto to = static_cast<std::ptrdiff_t>(static_cast<size_t>(at[r]) * width);
    std::copy(row.value.begin(), row.value.end(), all.value.begin() + to);
    std::copy(row.bound.begin(), row.bound.end(), all.bound.begin() + to);
  }
  return all;
}

Expected concat(const OpRecord& op) {
  const size_t rank = op.output.shape.size();
  const double given = op.number("axis", 0);
  const double from_start = given < 0 ? given + static_cast<double>(rank) : given;
  demand(op, from_start >= 0 && from_start < static_cast<double>(rank), "an axis of the output");
  const size_t axis = static_cast<size_t>(from_start);
  int64_t outer = 1, extent = 0;
  for (size_t d = 0; d < axis; ++d) outer *= op.output.shape[d];
  for (const OpTensor& part : op.inputs) {
    demand(op, part.shape.size() == rank, "parts of as many dimensions as the output");
    for (size_t d = 0; d < rank; ++d)
      demand(op, d == axis || part.shape[d] == op.output.shape[d], "parts that differ along the axis alone");
    extent += part.shape[axis];
  }
  demand(op, extent == op.output.shape[axis], "parts that fill the axis");
  Expected all;
  for (int64_t o = 0; o < outer; ++o) {
    for (const OpTensor& part : op.inputs) {
      const size_t size = part.values.size() / static_cast<size_t>(outer);
      const auto slab = part.values.subspan(static_cast<size_t>(o) * size, size);
      all.value.insert(all.value.end(), slab.begin(), slab.end());
    }
  }
  all.bound.resize(all.value.size());
  return all;
}

Expected conv(const OpRecord& op) {
  const OpTensor &x = op.input(0), &c = op.input(1);
  const int64_t channels = c.extent(1), taps = c.width();
  demand(op, x.shape.size() >= 2 && x.extent(1) == channels && x.width() >= taps,
         "x [sequences, channels, tokens + taps - 1], weight [channels, taps]");
  return oracle::ssm_conv(x.values, c.values, x.rows() / channels, channels, taps);
}

Expected scan(const OpRecord& op) {
  const OpTensor &state = op.input(0), &x = op.input(1), &a = op.input(3), &b = op.input(4);
  demand(op, state.shape.size() == 4 && x.shape.size() == 4 && b.shape.size() == 4,
         "state [s, heads, d, n], x [s, t, heads, d], dt [s, t, heads], A [heads (, n)], B and C [s, t, "
         "groups, n]");
  const oracle::ScanShape shape{.sequences = x.shape[0],
                                .tokens = x.shape[1],
                                .heads = x.shape[2],
                                .head_dim = x.shape[3],
                                .groups = b.shape[2],
                                .d_state = b.shape[3],
                                .scalar_decay = a.count() == x.shape[2]};
  const int64_t tokens = shape.sequences * shape.tokens;
  demand(op,
         state.count() == shape.sequences * shape.heads * shape.head_dim * shape.d_state &&
             op.input(2).count() == tokens * shape.heads && shape.heads % shape.groups == 0 &&
             (shape.scalar_decay || a.count() == shape.heads * shape.d_state) &&
             b.count() == tokens * shape.groups * shape.d_state && op.input(5).count() == b.count(),
         "state [s, heads, d, n], x [s, t, heads, d], dt [s, t, heads], A [heads (, n)], B and C [s, t, "
         "groups, n]");
  return oracle::ssm_scan(state.values, x.values, op.input(2).values, a.values, b.values, op.input(5).values,
                          shape);
}

Expected delta(const OpRecord& op) {
  const OpTensor &q = op.input(0), &v = op.input(2), &state = op.input(5);
  constexpr const char* kShapes =
      "q and k [s, t, heads, d_k], v [s, t, heads, d_v], g and beta [s, t, heads], state [s, heads, d_k, "
      "d_v]";
  demand(op, q.shape.size() == 4 && v.shape.size() == 4, kShapes);
  const oracle::DeltaShape shape{.sequences = q.shape[0],
                                 .tokens = q.shape[1],
                                 .heads = q.shape[2],
                                 .d_k = q.shape[3],
                                 .d_v = v.shape[3],
                                 .scale = op.number("scale", 1 / std::sqrt(static_cast<double>(q.shape[3])))};
  const int64_t rows = shape.sequences * shape.tokens * shape.heads;
  demand(op,
         op.input(1).count() == q.count() && v.count() == rows * shape.d_v && op.input(3).count() == rows &&
             op.input(4).count() == rows &&
             state.count() == shape.sequences * shape.heads * shape.d_k * shape.d_v,
         kShapes);
  return oracle::gated_delta_net(q.values, op.input(1).values, v.values, op.input(3).values,
                                 op.input(4).values, state.values, shape);
}

Expected computed(const OpRecord& op, const Roundings& roundings) {
  const std::span<const float> x = op.inputs.front().values;
  switch (op.info->op) {
    case Op::mul_mat:
    case Op::mul_mat_id: return product(op, roundings);
    case Op::get_rows: return rows_of_table(op, roundings);
    case Op::rms_norm:
    case Op::norm:
    case Op::l2_norm: return norm(op, roundings);
    case Op::rope: return rope(op, roundings);
    case Op::soft_max: return soft_max(op);
    case Op::flash_attention: return flash(op, roundings);
    case Op::add: return oracle::add(x, repeated(op, op.input(1), std::ssize(x)));
    case Op::mul: return oracle::mul(x, repeated(op, op.input(1), std::ssize(x)));
    case Op::scale: return oracle::scale(x, op.number("scale", 1), op.number("bias", 0));
    case Op::glu: return glu(op);
    case Op::unary: return one_function(op);
    case Op::argsort:
    case Op::top_k: return {};  // sorted()
    case Op::set_rows: return set_rows(op);
    case Op::cpy: return stored(op, x);
    case Op::concat: return concat(op);
    case Op::ssm_conv: return conv(op);
    case Op::ssm_scan: return scan(op);
    case Op::gated_delta_net: return delta(op);
  }
  return {};
}

/// What is stored anew is rounded by its dtype, in the op's own way.
bool is_copy(Op op) { return op == Op::cpy || op == Op::set_rows || op == Op::concat || op == Op::get_rows; }

}  // namespace

void halves_of(const OpRecord& op, std::vector<float>& gate, std::vector<float>& up) {
  const OpTensor& x = op.input(0);
  demand(op, x.width() % 2 == 0 && op.output.count() * 2 == x.count(), "gate and up as the halves of a row");
  const size_t half = static_cast<size_t>(x.width() / 2);
  gate.clear();
  for (size_t at = 0; at < x.values.size(); at += 2 * half) {
    gate.insert(gate.end(), x.values.begin() + static_cast<std::ptrdiff_t>(at),
                x.values.begin() + static_cast<std::ptrdiff_t>(at + half));
    up.insert(up.end(), x.values.begin() + static_cast<std::ptrdiff_t>(at + half),
              x.values.begin() + static_cast<std::ptrdiff_t>(at + 2 * half));
  }
  if (op.number("swapped", 0) != 0) std::swap(gate, up);
}

oracle::RopeShape rope_shape(const OpRecord& op) {
  const OpTensor& x = op.input(0);
  const std::string layout = word_of(*op.event, "layout", "adjacent");
  demand(op, layout == "adjacent" || layout == "halves", "layout is adjacent or halves");
  const int64_t head_dim = whole(op, "head_dim", x.width());
  demand(op, head_dim > 0 && x.width() % head_dim == 0, "rows of whole heads");
  const int64_t dims = whole(op, "dims", head_dim);
  demand(op, dims >= 0 && dims <= head_dim && dims % 2 == 0, "an even number of dims, within a head");
  const int64_t rows = std::ssize(rope_positions(op));
  return {.heads = x.count() / rows / head_dim,
          .head_dim = head_dim,
          .rope_dims = dims,
          .base = op.number("base", 10000),
          .adjacent = layout == "adjacent",
          .scale = op.number("scale", 1)};
}

std::vector<int64_t> rope_positions(const OpRecord& op) {
  const OpTensor& x = op.input(0);
  std::vector<int64_t> positions;
  if (op.has_input(1)) {
    for (const float position : op.input(1).values) {
      demand(op, position >= 0 && position < 0x1p24f, "positions from 0");
      positions.push_back(static_cast<int64_t>(position));
    }
  } else {
    positions = positions_of(*op.event);
  }
  demand(op, !positions.empty() && x.shape.size() >= 2 && x.shape.front() == std::ssize(positions),
         "a position for each row of x");
  demand(op, std::ranges::all_of(positions, [](int64_t p) { return p >= 0 && p < (1 << 24); }),
         "positions from 0");
  return positions;
}

OpExpected solve_op(const OpRecord& op, const Roundings& roundings) {
  const bool sorts = op.info->op == Op::argsort || op.info->op == Op::top_k;
  OpExpected result =
      sorts ? sorted(op)
            : OpExpected{computed(op, roundings), {op.output.values.begin(), op.output.values.end()}};
  if (result.expected.value.size() != result.observed.size())
    op.fail(fmt::format("its inputs make {} values", result.expected.value.size()));
  if (sorts) return result;
  if (!is_copy(op.info->op)) oracle::add_output_rounding(roundings.output, result.expected);
  oracle::forget_overflows(roundings.output, result.expected);
  return result;
}

}  // namespace greta

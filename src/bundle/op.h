#pragma once
// The ops that can be judged by their own recorded inputs: the one table of what each takes. For people it
// stands in docs/trace-format.md ("Ops"); a test holds both to it.

#include <array>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "bundle/bundle.h"

namespace greta {

enum class Op {
  mul_mat,
  mul_mat_id,
  get_rows,
  rms_norm,
  norm,
  l2_norm,
  rope,
  soft_max,
  flash_attention,
  add,
  mul,
  scale,
  glu,
  unary,
  argsort,
  top_k,
  set_rows,
  cpy,
  concat,
  ssm_conv,
  ssm_scan,
  gated_delta_net,
};

struct AttributeInfo {
  std::string_view name;
  bool is_word = false;
  bool required = false;
};

struct OpInfo {
  Op op;
  std::string_view name;
  std::string_view inputs;  // their roles, in order; those in [] may be left out from the end
  size_t least, most;       // how many
  std::array<AttributeInfo, 6> attributes = {};
};

std::span<const OpInfo> known_ops();

/// nullptr for an op that GRETA doesn't know: it can't be judged.
const OpInfo* find_op(std::string_view name);

/// An input an op names: the event that holds it; of "weight: NAME" nullptr, and `weight` is the name.
struct OpInput {
  const Event* event = nullptr;
  std::string weight;
};

/// The inputs of every op of the bundle, by the op's event: the last event of that name (or, without one, of
/// that tensor) before it in its cell and phase, else anywhere. An input Error, one line, for a name that
/// nothing has, a wrong number of inputs, an attribute that the op does not have or lacks. Ops that are not
/// known are left out.
std::map<const Event*, std::vector<OpInput>> op_inputs(const Bundle& bundle);

/// An attribute that is a number, or a word; or the fallback.
double number_of(const Event& op, const std::string& attribute, double fallback);
std::string word_of(const Event& op, const std::string& attribute, const std::string& fallback);

}  // namespace greta

#pragma once
// Faults: deliberate bugs, put into a plan as faulty twins of its ops, to test the tool and to teach with.

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/session.h"

namespace greta::isolate {

/// When a twin is faulty; otherwise it does what the right kernel does. All that are set must hold.
struct FaultCondition {
  std::optional<int64_t> rows_above;  // "S>n": only blocks of more than n tokens
  std::optional<int64_t> rows_equal;  // "S=n"
  bool holds(const KernelArgs& args) const;
};

struct FaultSpec;

/// An entry of the table that `greta faults` lists.
struct Fault {
  std::string name;
  Stage stage;
  std::string what;    // one line
  std::string source;  // the real bug it is modelled on
  /// The faulty twin of `op`, or nullptr when the fault acts on routes only.
  std::shared_ptr<Action> (*make_twin)(const Engine& engine, const Op& op, const FaultCondition& condition);
};

std::span<const Fault> faults();

/// One --inject option: which fault, where and when.
struct FaultSpec {
  const Fault* fault = nullptr;
  std::optional<Phase> phase;  // empty: both
  std::optional<int> layer;    // empty: all
  FaultCondition condition;
  std::string text;  // as given
};

/// "FAULT[@prefill|@decode][:LAYER][,S>n|,S=n]", such as "wq_column_major@prefill:0,S>1". Throws an input
/// Error that says what is allowed.
FaultSpec parse_fault(const std::string& text, int64_t n_layer);

/// Puts the twins of all `specs` that concern the plan's phase into it. Throws an input Error when a spec
/// finds no op.
void apply_faults(Plan& plan, const Engine& engine, std::span<const FaultSpec> specs);

/// The routes that an engine with these faults really plans with (a fault may ignore the forced ones).
RouteTable effective_routes(const RouteTable& wanted, std::span<const FaultSpec> specs, Phase phase);

}  // namespace greta::isolate

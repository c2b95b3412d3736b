#pragma once
// What a recorded stage ought to have been: the oracle applied to the inputs that the same phase recorded.

#include <optional>
#include <string>

#include "isolate/cell_view.h"
#include "model/model.h"
#include "model/tokenizer.h"
#include "numerics/oracle.h"

namespace greta::isolate {

/// How one phase's stage agrees with the oracle.
struct Judgement {
  double noise_ratio = 0;  // max |observed - oracle| / bound; infinite where the bound is 0 and they differ
  int64_t worst = -1;      // index of that element
};

struct OracleContext {
  const Model& model;
  const PhaseView& view;
  const std::vector<TokenId>& tokens;  // of the prompt
};

/// A stage computed otherwise than the model says: what a hypothesis claims. Fields that are not set stay as
/// the model has them.
struct StageVariant {
  const GgufTensor* weight = nullptr;  // another matrix, or another norm's weight
  std::optional<double> eps = {};      // of a norm
  std::optional<double> rope_base = {};
};

/// The stage from its recorded inputs; nullopt with `why` when one is missing or does not fit the model.
std::optional<Expected> expected_stage(const OracleContext& context, Stage stage, int layer,
                                       const StageVariant& variant, std::string* why);

/// Judges one recorded stage alone. nullopt with `why` when an input or the stage's data are missing.
std::optional<Judgement> judge_stage(const OracleContext& context, Stage stage, int layer, std::string* why);

/// The roundings that the manifest says this kernel declares; those of f32 for a kernel that it does not
/// list.
Roundings declared_roundings(const nlohmann::json& manifest, const std::string& kernel);

}  // namespace greta::isolate

#pragma once
// An op as a stage. A stage is an op whose inputs the model names; so an op of a stage's kind is that stage
// in a model made for it, whose one weight is the op's own: arithmetic is then inferred, evidence gathered
// and a cause named as for any stage, by the same code.

#include <list>
#include <memory>
#include <string>
#include <vector>

#include "judge/op_record.h"
#include "model/model.h"
#include "model/tokenizer.h"

namespace greta {

/// Ops of one kernel and one shape: the layers of a model.
struct StagedOps {
  Model model;
  Bundle bundle;
  Stage stage = Stage::gate;
  std::vector<std::vector<size_t>> of_layer;  // which records each layer stands for
  std::vector<std::string> labels;            // what people call each layer: "matrix 2 of experts"
  std::list<std::vector<float>> owned;        // what the model's weights point to
  std::list<Tensor> weights;
};

/// Whether the op has a stage's kind.
bool has_stage_kind(const OpRecord& record);

/// The ops that have, as models. The bundle and the records must outlive them.
std::vector<std::unique_ptr<StagedOps>> stage_ops(const Bundle& bundle, const std::vector<OpRecord>& records);

}  // namespace greta

#pragma once
// The program that runs is the one that is judged: production's plans, unrecorded, must give the bits that
// were recorded and judged; and n tokens the same bits at once, in blocks, one by one, in a used cache and
// with another number of threads. What differs is recorded and judged, and else told by what makes it go.

#include <functional>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "engine/engine.h"
#include "record/matrix_request.h"
#include "verdict/verdict.h"

namespace greta {

struct ContractRequest {
  uint64_t seed = 0;   // of the tokens and rows that are drawn
  bool quick = false;  // the matrix's own prompts only
  std::function<void(const std::string& label)> step = [](const std::string&) {};  // may throw to stop
};

struct Contract {
  std::vector<Finding> differences;  // in the order in which they were found
  Exercise exercise;
};

/// `recorded` is what record_matrix() gave for `matrix`, and was judged without a finding: what is wrong
/// there already differs everywhere.
Contract check_contract(Engine& engine, const MatrixRequest& matrix, const Bundle& recorded,
                        const ContractRequest& request);

/// The verdict of a run in which nothing was held against anything: what it did not exercise.
Exercise unheld(Engine& engine, const MatrixRequest& matrix, const Bundle& recorded, uint64_t seed);

}  // namespace greta

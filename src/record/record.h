#pragma once
// The experiment matrix run into a bundle in memory.

#include "bundle/bundle.h"
#include "record/matrix.h"

namespace greta {

Bundle record_matrix(Engine& engine, const MatrixRequest& request);

}  // namespace greta

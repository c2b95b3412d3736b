#pragma once
// The experiment matrix run into a bundle in memory.

#include "isolate/matrix.h"
#include "trace/bundle.h"

namespace greta {

Bundle record_matrix(Engine& engine, const MatrixRequest& request);

}  // namespace greta

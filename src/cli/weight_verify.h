#pragma once
// GRETA_TRACE_QKV_W_VERIFY=1: how the kernels of the run read their weights.

#include "cli/matrix_options.h"
#include "experiment/weight_probe.h"

namespace greta::cli {

/// Probes the weights of the traced layers on the run's base routes (E0), with its faults, and writes
/// qkv_w_verify.json into its directory.
std::vector<WeightProbe> verify_weights(const MatrixRun& run);

}  // namespace greta::cli

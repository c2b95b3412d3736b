#pragma once
// The only place that reads the environment. A command-line option for the same wins over a variable.

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace greta::cli {

struct Environment {
  std::optional<std::string> qkv_force_route;  // GRETA_QKV_FORCE_ROUTE=mfma|valu|auto: decode's q, k, v
  bool qkv_force_gemm = false;                 // GRETA_QKV_FORCE_GEMM=1: GEMM in decode for them
  bool trace_attn_l0_pipe = false;             // GRETA_TRACE_ATTN_L0_PIPE=1
  std::string attn_pipe_file;        // GRETA_TRACE_ATTN_L0_PIPE_OUT=FILE, where it is 1; --attn-pipe
  bool trace_attn_l0_norm = false;   // GRETA_TRACE_ATTN_L0_NORM=1
  bool trace_qkv_w_verify = false;   // GRETA_TRACE_QKV_W_VERIFY=1: probe the weights' layouts
  std::optional<bool> align_decode;  // GRETA_TRACE_STAGE_DEBUG_INPUT=1|0
  std::string trace_prompt_id;       // GRETA_TRACE_PROMPT_ID=LABEL; empty: none
  std::optional<std::string> isa;    // GRETA_ISA=scalar|avx2|avx512

  std::string github_step_summary;  // GITHUB_STEP_SUMMARY: of the CI that runs us, none of ours

  std::map<std::string, std::string> set;  // the GRETA_* variables that were set, for the manifest
};

/// What the manual page says of a variable.
struct Variable {
  std::string_view name, values, option, help;
};
std::span<const Variable> environment_variables();

/// Each variable and its option, a line each, for --help.
std::string environment_help();

/// Variables that are called like ours and are not: "GRETA_X: there is no such variable; did you mean ...?".
std::vector<std::string> unknown_variables();

/// Reads and checks the flags. Throws an input Error that names the variable and what it may be.
Environment read_environment();

}  // namespace greta::cli

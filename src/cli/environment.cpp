#include "cli/environment.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "base/nearest.h"
#include "cli/common.h"
#include "engine/route.h"

namespace greta::cli {
namespace {

constexpr Variable kVariables[] = {
    {"GRETA_QKV_FORCE_ROUTE", "mfma|valu|auto", "--route decode:q,k,v=ROUTE",
     "Route of the Q, K, V projections in decode."},
    {"GRETA_QKV_FORCE_GEMM", "1", "--route decode:q,k,v=auto/gemm",
     "Decode uses GEMM instead of GEMV for them."},
    {"GRETA_TRACE_ATTN_L0_PIPE", "1", "--attn-pipe",
     "Trace layer 0's attention pipeline, head 0, as JSON lines."},
    {"GRETA_TRACE_ATTN_L0_PIPE_OUT", "FILE", "--attn-pipe", "The file of these lines."},
    {"GRETA_TRACE_ATTN_L0_NORM", "1", "--attn-pipe-norm", "They also have the norm before it."},
    {"GRETA_TRACE_QKV_W_VERIFY", "1", "--verify-weights",
     "Ask the kernels, with one-hot inputs, how they read their weights."},
    {"GRETA_TRACE_STAGE_DEBUG_INPUT", "1|0", "--no-align",
     "Align decode0 with prefill_last: same token, same position (the default; 0 turns it off)."},
    {"GRETA_TRACE_PROMPT_ID", "LABEL", "--prompt-id", "Label of the prompt in the trace."},
    {"GRETA_ISA", "scalar|avx2|avx512", "--isa", "The ISA of the kernels."},
    {"GRETA_CAPTURE_OUT", "DIR", "capture --out", "Read by the capture library alone: where it records."},
    {"GRETA_CAPTURE_LAYERS", "all|N|N-M", "capture --layers", "The layers that it records."},
    {"GRETA_CAPTURE_STEPS", "N", "capture --steps", "Steps of one token, of each prompt."},
    {"GRETA_CAPTURE_PROMPTS", "N", "capture --prompts", "Prompts, from the first."},
    {"GRETA_CAPTURE_ONLY_DIGESTS", "1", "capture, without --no-verify",
     "No stage is recorded, only hashes of the logits: for the second run that capture compares with."},
    {"GRETA_VLLM_OUT", "DIR", "none: of the plugin for vLLM", "Where vLLM's processes record (import vllm)."},
    {"GRETA_VLLM_LAYERS", "all|N|N-M", "none: of the plugin for vLLM", "The layers that they record."},
    {"GRETA_VLLM_PASSES", "N", "none: of the plugin for vLLM", "Forward passes, from the first; 16."},
    {"GRETA_CACHE", "DIR", "none: of scripts/get-model.sh",
     "Where models are kept that are fetched; ~/.cache/greta by default."},
};

class Reader {
 public:
  std::optional<std::string> text(const char* name) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') return std::nullopt;
    seen_[name] = value;
    return value;
  }

  std::optional<bool> flag(const char* name) {
    const std::optional<std::string> value = text(name);
    if (!value) return std::nullopt;
    if (*value != "0" && *value != "1") fail_input("{}={}: use 1 or 0", name, *value);
    return *value == "1";
  }

  std::map<std::string, std::string> seen() const { return seen_; }

 private:
  std::map<std::string, std::string> seen_;
};

}  // namespace

std::span<const Variable> environment_variables() { return kVariables; }

std::string environment_help() {
  std::string text = "Environment variables, and the options that win over them:";
  for (const Variable& variable : kVariables)
    text += fmt::format("\n  {:<31}{}", variable.name, variable.option);
  return text;
}

std::vector<std::string> unknown_variables() {
  std::vector<std::string> known, complaints;
  for (const Variable& variable : kVariables) known.emplace_back(variable.name);
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view line = *entry, name = line.substr(0, line.find('='));
    const bool ours = name.starts_with("GRETA_") && !name.starts_with("GRETA_TEST_");
    if (!ours || std::find(known.begin(), known.end(), name) != known.end()) continue;
    complaints.push_back(fmt::format("{}: there is no such variable{}", name, did_you_mean(name, known)));
  }
  return complaints;
}

Environment read_environment() {
  Reader reader;
  Environment environment;
  environment.qkv_force_route = reader.text("GRETA_QKV_FORCE_ROUTE");
  if (environment.qkv_force_route) parse_route(*environment.qkv_force_route, "GRETA_QKV_FORCE_ROUTE");
  environment.qkv_force_gemm = reader.flag("GRETA_QKV_FORCE_GEMM").value_or(false);
  environment.trace_attn_l0_pipe = reader.flag("GRETA_TRACE_ATTN_L0_PIPE").value_or(false);
  const std::string pipe_file = reader.text("GRETA_TRACE_ATTN_L0_PIPE_OUT").value_or("");
  if (environment.trace_attn_l0_pipe) environment.attn_pipe_file = pipe_file;
  environment.trace_attn_l0_norm = reader.flag("GRETA_TRACE_ATTN_L0_NORM").value_or(false);
  environment.trace_qkv_w_verify = reader.flag("GRETA_TRACE_QKV_W_VERIFY").value_or(false);
  environment.align_decode = reader.flag("GRETA_TRACE_STAGE_DEBUG_INPUT");
  environment.trace_prompt_id = reader.text("GRETA_TRACE_PROMPT_ID").value_or("");
  environment.isa = reader.text("GRETA_ISA");
  if (environment.isa) parse_isa(*environment.isa, "GRETA_ISA=");
  environment.set = reader.seen();
  if (const char* summary = std::getenv("GITHUB_STEP_SUMMARY")) environment.github_step_summary = summary;
  return environment;
}

}  // namespace greta::cli

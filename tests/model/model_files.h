#pragma once
// Real models and recorded truths for tests.

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "model/gguf_model_file.h"

namespace greta::test {

/// Where the model is, by its name in the goldens; "" when it is not on this machine.
inline std::string model_path(const std::string& name) {
  const std::string file = name == "smollm2"  ? "SmolLM2-135M-Instruct.Q4_1.gguf"
                           : name == "gemma3" ? "gemma-3-270m-q4_k_m.gguf"
                                              : "qwen.gguf";
  return model_file(file).value_or("");
}

inline nlohmann::json golden(const std::string& name) {
  std::ifstream file(std::string(GRETA_SOURCE_DIR) + "/tests/goldens/" + name);
  EXPECT_TRUE(file) << name;
  return nlohmann::json::parse(file);
}

}  // namespace greta::test

/// Ends the test, as skipped, where the model is absent.
#define GRETA_SKIP_WITHOUT(name)             \
  if (greta::test::model_path(name).empty()) \
  GTEST_SKIP() << name << " is not in the model cache: scripts/get-model.sh " << name

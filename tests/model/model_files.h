#pragma once
// Real models and recorded truths for tests.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace greta::test {

/// Where the model is, by its name in the goldens; "" when it is not on this machine.
inline std::string model_path(const std::string& name) {
  const char* dir = std::getenv("GRETA_TEST_MODELS_DIR");
  const char* home = std::getenv("HOME");
  const std::string folder = dir ? dir : std::string(home ? home : "") + "/.cache/greta/models";
  const std::string file = name == "smollm2"  ? "SmolLM2-135M-Instruct.Q4_1.gguf"
                           : name == "gemma3" ? "gemma-3-270m-q4_k_m.gguf"
                                              : "qwen.gguf";
  const std::string path = folder + "/" + file;
  return std::filesystem::exists(path) ? path : "";
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

#pragma once
// Where the tests find real models: GRETA_TEST_MODELS_DIR, or else ~/.cache/greta/models.

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

namespace greta::test {

inline constexpr char kNoModel[] =
    "the model is not there; fetch it with scripts/get-model.sh or set GRETA_TEST_MODELS_DIR";

inline std::optional<std::string> model_file(const std::string& name) {
  std::filesystem::path folder;
  if (const char* given = std::getenv("GRETA_TEST_MODELS_DIR")) {
    folder = given;
  } else if (const char* home = std::getenv("HOME")) {
    folder = std::filesystem::path(home) / ".cache/greta/models";
  }
  const auto path = folder / name;
  if (!std::filesystem::exists(path)) return std::nullopt;
  return path.string();
}

}  // namespace greta::test

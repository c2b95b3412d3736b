#include "capture/settings.h"

#include <cstdio>
#include <cstdlib>

namespace greta::capture {
namespace {

int number_or(const char* variable, int otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr || *text == '\0' ? otherwise : std::atoi(text);
}

}  // namespace

std::optional<Settings> read_settings() {
  const char* out = std::getenv("GRETA_CAPTURE_OUT");
  if (out == nullptr || *out == '\0') return std::nullopt;
  Settings settings;
  settings.out = out;
  settings.steps = number_or("GRETA_CAPTURE_STEPS", settings.steps);
  settings.prompts = number_or("GRETA_CAPTURE_PROMPTS", settings.prompts);
  settings.only_digests = number_or("GRETA_CAPTURE_ONLY_DIGESTS", 0) != 0;
  const char* layers = std::getenv("GRETA_CAPTURE_LAYERS");
  int first = 0, last = 0;
  const int read = layers == nullptr ? 0 : std::sscanf(layers, "%d-%d", &first, &last);
  if (read >= 1) {
    settings.first_layer = first;
    settings.last_layer = read == 2 ? last : first;
  }
  return settings;
}

}  // namespace greta::capture

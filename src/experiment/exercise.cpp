#include "experiment/exercise.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace greta {
namespace {

std::vector<std::string> other_caches(const ModelConfig& config, const Reach& reach) {
  std::vector<std::string> formats;
  for (const Format format : cache_formats(config)) {
    if (!reach.caches.contains(format)) formats.emplace_back(name(format));
  }
  return formats;
}

}  // namespace

std::set<int64_t> windows_of(const ModelConfig& config) {
  std::set<int64_t> windows;
  for (const LayerConfig& layer : config.layers) {
    if (layer.window > 0) windows.insert(layer.window);
  }
  return windows;
}

std::set<int64_t> windows_within(const ModelConfig& config, int64_t n) {
  std::set<int64_t> windows = windows_of(config);
  windows.erase(windows.lower_bound(n), windows.end());
  return windows;
}

std::vector<Format> cache_formats(const ModelConfig& config) {
  std::vector<Format> formats{Format::f32, Format::f16, Format::q8_0};
  std::erase_if(formats, [&](Format format) { return !KvCache::can_hold(config, format); });
  return formats;
}

void add_kernels(const Plan& plan, std::set<std::string>& kernels) {
  for (const Op& op : plan.ops()) {
    if (const KernelCall* call = kernel_call(op)) kernels.insert(call->kernel->name);
  }
}

void add_kernels(const Bundle& bundle, std::set<std::string>& kernels) {
  for (const Event& event : bundle.events) kernels.insert(event.kernel);
}

namespace {

/// What is taken on trust, but for what the loss confirms against every other value.
Text only_trusted(const ModelConfig& config, const Trust& trust) {
  const Text all[] = {{"RoPE's base", "la base de RoPE"},
                      {"RoPE's pairs", "los pares de RoPE"},
                      {"eps", "eps"},
                      {"the scale of scores", "la escala de las puntuaciones"},
                      {"the scale of the embedding", "la escala del embedding"},
                      {"the window", "la ventana"}};
  std::vector<std::string> en, es;
  for (const Text& what : all) {
    if (what.en == "the window" && windows_of(config).empty()) continue;
    bool weighed = false, confirmed = true;
    for (const TrustedValue& value : trust.others) {
      if (value.what != what) continue;
      weighed = true;
      confirmed = confirmed && trust.confirms(value);
    }
    if (weighed && confirmed) continue;
    en.push_back(what.en);
    es.push_back(what.es);
  }
  return {fmt::format("{}", fmt::join(en, ", ")), fmt::format("{}", fmt::join(es, ", "))};
}

}  // namespace

std::vector<Text> not_exercised(const Engine& engine, const MatrixRequest& matrix, const Reach& reach,
                                const Trust& trust) {
  const ModelConfig& config = engine.model().config;
  std::vector<Text> list;
  const auto add = [&list](std::string en, std::string es) {
    list.push_back({std::move(en), std::move(es)});
  };
  if (reach.positions < config.n_ctx) {
    add(fmt::format("positions from {} on (the context has {})", reach.positions, config.n_ctx),
        fmt::format("posiciones desde la {} (el contexto tiene {})", reach.positions, config.n_ctx));
  }
  for (const int64_t window : windows_of(config)) {
    if (reach.windows.contains(window)) continue;
    add(fmt::format("the edge of the window of {} positions", window),
        fmt::format("el borde de la ventana de {} posiciones", window));
  }
  if (reach.block < matrix.prefill_block) {
    add(fmt::format("prefill blocks of more than {} rows, and prompts of several", reach.block),
        fmt::format("bloques de prefill de más de {} filas y prompts de varios", reach.block));
  }
  if (!reach.steps_in_a_row) add("several steps of decode in a row", "varios pasos de decode seguidos");
  if (const auto caches = other_caches(config, reach); !caches.empty()) {
    const std::string names = fmt::format("{}", fmt::join(caches, ", "));
    add("a KV cache in " + names, "una caché KV en " + names);
  }
  if (matrix.layers.size() < static_cast<size_t>(config.n_layer)) {
    add("layers that were not traced (`--layers`)", "capas no trazadas (`--layers`)");
  }
  add(fmt::format("numbers of threads other than {}", fmt::join(reach.threads, " and ")),
      fmt::format("números de hilos distintos de {}", fmt::join(reach.threads, " y ")));
  add("the text of tokens, and how the next one is chosen; tokens that no prompt has",
      "el texto de los tokens y cómo se elige el siguiente; tokens que no están en ningún prompt");
  add("forced routes outside decode's q, k, v; other ISAs and devices",
      "rutas forzadas fuera de q, k, v del decode; otras ISA y otros dispositivos");
  const Text trusted = only_trusted(config, trust);
  if (!trusted.empty()) {
    add("what engine and judge read of the file alike: " + trusted.en,
        "lo que motor y juez leen igual del archivo: " + trusted.es);
  }
  return list;
}

}  // namespace greta

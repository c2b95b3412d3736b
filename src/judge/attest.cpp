#include "judge/attest.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "judge/stage_oracle.h"

namespace greta {
namespace {

constexpr std::array kForced = {Stage::q, Stage::k, Stage::v};

/// "gemm" or "gemv" of a kernel, by the manifest.
std::string shape_of(const nlohmann::json& manifest, const std::string& kernel) {
  if (!is_declared(manifest, kernel)) return "";
  return manifest["kernels"][kernel].value("shape", "");
}

/// Why a launched projection is not what was forced; empty when it is.
std::string mismatch(const nlohmann::json& manifest, const Event& event, const Cell& cell) {
  const std::string at = fmt::format("L{} {}", event.layer, event.stage);
  const bool forced = cell.force_route != "auto" || cell.force_gemm;
  if (forced && event.launches == 0) return at + " was never launched";
  if (cell.force_route != "auto" && event.route != cell.force_route) {
    return fmt::format("{} was forced to {} but ran {} ({})", at, cell.force_route, event.route,
                       event.kernel);
  }
  if (cell.force_gemm && shape_of(manifest, event.kernel) != "gemm") {
    return fmt::format("{} was forced to GEMM but ran {}", at, event.kernel);
  }
  return "";
}

/// The hash of a cell's q at the first traced layer in decode0.
const Event* decode_q(const Bundle& bundle, const Cell& cell, int layer) {
  for (const Event& event : bundle.events) {
    if (event.seen() == Seen::decode0 && event.layer == layer && event.stage == name(Stage::q) &&
        event.key() == cell.key) {
      return &event;
    }
  }
  return nullptr;
}

}  // namespace

std::vector<Cell> cells_of(const Bundle& bundle) {
  std::vector<Cell> cells;
  for (const Event& event : bundle.events) {
    const bool known =
        std::any_of(cells.begin(), cells.end(), [&](const Cell& cell) { return cell.key == event.key(); });
    if (known) continue;
    Cell cell;
    cell.key = event.key();
    for (const nlohmann::json& entry : bundle.manifest.value("experiments", nlohmann::json::array())) {
      if (entry.value("name", "") != cell.key.experiment) continue;
      cell.force_route = entry.value("force_route", "auto");
      cell.force_gemm = entry.value("force_gemm", false);
    }
    cells.push_back(std::move(cell));
  }
  // Experiments outer, prompts inner, each in order of appearance.
  std::vector<std::string> order;
  for (const Cell& cell : cells) {
    if (std::find(order.begin(), order.end(), cell.key.experiment) == order.end())
      order.push_back(cell.key.experiment);
  }
  const auto rank = [&](const Cell& cell) {
    return std::find(order.begin(), order.end(), cell.key.experiment);
  };
  std::stable_sort(cells.begin(), cells.end(),
                   [&](const Cell& a, const Cell& b) { return rank(a) < rank(b); });
  return cells;
}

std::vector<TokenId> prompt_tokens(const Bundle& bundle, const std::string& prompt) {
  for (const nlohmann::json& entry : bundle.manifest.value("prompts", nlohmann::json::array())) {
    if (entry.value("id", "") == prompt) return entry.value("tokens", std::vector<TokenId>{});
  }
  return {};
}

void attest(const Bundle& bundle, const PhaseView& prefill, const PhaseView& decode, Cell& cell,
            std::vector<Flag>& flags) {
  const std::array<ProjectionSeen*, 3> projections = {&cell.q, &cell.k, &cell.v};
  int64_t seen = 0;
  std::string why;
  for (const auto& [at, event] : decode.events()) {
    const auto it = std::find(kForced.begin(), kForced.end(), at.stage);
    if (it == kForced.end()) continue;
    ProjectionSeen& projection = *projections[static_cast<size_t>(it - kForced.begin())];
    if (projection.kernel.empty()) {  // the first traced layer's
      projection.route = event->route;
      projection.kernel = event->kernel;
    }
    ++seen;
    if (why.empty()) why = mismatch(bundle.manifest, *event, cell);
  }
  for (const auto& [at, event] : prefill.events()) {
    if (at.stage == Stage::q && cell.prefill_q_kernel.empty()) cell.prefill_q_kernel = event->kernel;
  }
  cell.attested = seen > 0 && why.empty();
  if (!why.empty()) flags.push_back({FlagKind::inert_factor, cell.key, why});
}

std::vector<Flag> inert_factors(const Bundle& bundle, const std::vector<Cell>& cells,
                                const std::vector<int>& layers) {
  std::vector<Flag> flags;
  if (layers.empty()) return flags;
  // Then one kernel serves both shapes, whatever is forced.
  const nlohmann::json options = bundle.manifest.value("options", nlohmann::json::object());
  const bool invariant = options.is_object() && options.value("invariant", false);
  for (const Cell& a : cells) {
    for (const Cell& b : cells) {
      if (a.key.prompt != b.key.prompt || a.key.experiment >= b.key.experiment) continue;
      const bool routes_differ =
          a.force_route != "auto" && b.force_route != "auto" && a.force_route != b.force_route;
      const bool shapes_differ = !invariant && a.force_route == b.force_route && a.force_gemm != b.force_gemm;
      if (!routes_differ && !shapes_differ) continue;
      const std::string pair = fmt::format("{} and {}", a.key.experiment, b.key.experiment);
      if (a.q.kernel == b.q.kernel) {
        flags.push_back(
            {FlagKind::inert_factor, b.key,
             fmt::format("{} are forced differently and ran the same kernel for q: {}", pair, a.q.kernel)});
        continue;
      }
      // One layer may have an input that both roundings keep:
      // the embedding, in a model without a norm before q.
      const bool same_values = std::all_of(layers.begin(), layers.end(), [&](int layer) {
        const Event* x = decode_q(bundle, a, layer);
        const Event* y = decode_q(bundle, b, layer);
        return x != nullptr && y != nullptr && x->hash == y->hash;
      });
      const bool same_rounding = declared_arithmetic(bundle.manifest, a.q.kernel).roundings.activation ==
                                 declared_arithmetic(bundle.manifest, b.q.kernel).roundings.activation;
      if (same_values && !same_rounding) {
        flags.push_back(
            {FlagKind::inert_factor, b.key,
             fmt::format("{} round activations differently and yet q has the same hash in both", pair)});
      }
    }
  }
  return flags;
}

std::optional<Flag> vacuous_projection(const Bundle& bundle) {
  for (const Event& event : bundle.events) {
    const std::optional<Stage> stage = stage_from_name(event.stage);
    if (!stage || !is_projection(*stage) || event.summary.min != event.summary.max) continue;
    if (event.summary.count == 1) continue;  // one number, as of a shared expert's gate
    if (event.summary.nan + event.summary.inf > 0) continue;
    return Flag{FlagKind::vacuous, event.key(),
                fmt::format("{} L{} {} is constant ({}): comparing it proves nothing", event.phase,
                            event.layer, event.stage, event.summary.min)};
  }
  return std::nullopt;
}

}  // namespace greta

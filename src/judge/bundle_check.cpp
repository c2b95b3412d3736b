#include "judge/bundle_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "judge/judge.h"
#include "judge/stage_problem.h"

namespace greta {
namespace {

void check_hash(const Bundle& bundle, const Model& model) {
  if (!bundle.manifest.contains("model")) return;
  const std::string said = bundle.manifest["model"].value("hash", "");
  std::string own;
  if (said.starts_with("xxh3-128:")) own = model.file.xxh3();
  if (said.starts_with("sha256:")) own = model.file.sha256();
  if (own.empty() || own == said) return;
  fail_input(
      "{}: recorded with another model file: {} there, {} is {}; give that file with -m, or --force to judge "
      "by this one",
      bundle.path, said, model.file.path(), own);
}

void check_event(const Bundle& bundle, const Event& event, const ModelConfig& config) {
  const std::optional<Stage> stage = stage_from_name(event.stage);
  if (!stage) return;
  const auto where = [&] {
    return fmt::format("{}: {} {} layer {} {}", bundle.path, event.cell, event.phase, event.layer,
                       event.stage);
  };
  const bool in_model =
      is_outside_layers(*stage) ? event.layer == kNoLayer : event.layer >= 0 && event.layer < config.n_layer;
  if (!in_model) {
    fail_input("{}: {} has layers 0 to {} (-1 for final_norm and logits); is this another model's trace?",
               where(), config.name, config.n_layer - 1);
  }
  if (!is_known(config, {event.layer, *stage})) return;
  const bool by_head = info(*stage).row_per == RowPer::token_head;
  const bool shaped =
      event.shape.size() == (by_head ? 3u : 2u) && (!by_head || event.shape[1] == config.n_head);
  const int64_t rows = std::ssize(positions_of(event));
  const int64_t width =
      row_width({event.layer, *stage}, config, by_head && event.shape.size() == 3 ? event.shape[2] : 0);
  const int64_t columns = !shaped ? 0 : by_head ? event.shape[1] * event.shape[2] : event.shape[1];
  if (!shaped || event.shape[0] != rows || columns != width) {
    fail_input(
        "{}: shape [{}] for {} positions; {} has {} values a row there; is this another model's trace?",
        where(), fmt::join(event.shape, ", "), rows, config.name, width);
  }
}

/// Positions that the run was for, or at least had.
int64_t context_of(const Bundle& bundle) {
  int64_t most = bundle.manifest.value("context", int64_t{0});
  if (most > 0) return most;
  for (const Event& event : bundle.events) {
    for (const int64_t position : positions_of(event)) most = std::max(most, position + 1);
  }
  return most;
}

/// Stages that turn, where the model says so.
std::set<At> turning_stages(const Bundle& bundle) {
  std::set<At> places;
  for (const Event& event : bundle.events) {
    const std::optional<Stage> stage = stage_from_name(event.stage);
    if (stage && info(*stage).kind == StageKind::rope) places.insert({event.layer, *stage});
  }
  return places;
}

/// LongRoPE's table goes by the context that an engine was started for, which may be longer than any position
/// shows. Where the manifest does not say it, the long table is taken if by it fewer stages are wrong.
std::string settle_table(const Bundle& bundle, Model& model) {
  const std::set<At> turning = turning_stages(bundle);
  if (model.rope_long == nullptr || model.rope_freqs != model.rope_short || turning.empty() ||
      bundle.manifest.contains("context"))
    return "";
  const auto wrong = [&] {
    return judge(bundle, model, {.causes = Causes::none, .only = &turning}).findings.size();
  };
  const int64_t shown = model.config.context;
  const size_t by_short = wrong();
  if (by_short == 0) return "";
  set_context(model, model.config.rope_original + 1);
  const size_t by_long = wrong();
  if (by_long >= by_short) {
    set_context(model, shown);
    return "";
  }
  return fmt::format(
      "the manifest has no \"context\": LongRoPE's long factors are taken, as the recorded RoPE shows; by "
      "the "
      "short ones {} of its stages would be wrong, by these {} are",
      by_short, by_long);
}

}  // namespace

void check_intact(const Bundle& bundle, bool force) {
  if (force || bundle.notes.empty() || !bundle.manifest.value("complete", true)) return;
  fail_input(
      "{}: {}, though its manifest calls the run complete: the bundle is damaged; fetch it again, or --force "
      "to "
      "go on with what is there",
      bundle.path, bundle.notes.front());
}

std::string check_bundle(const Bundle& bundle, Model& model, bool force) {
  set_context(model, context_of(bundle));
  check_intact(bundle, force);
  if (!force) check_hash(bundle, model);
  for (const Event& event : bundle.events) check_event(bundle, event, model.config);
  return settle_table(bundle, model);
}

}  // namespace greta

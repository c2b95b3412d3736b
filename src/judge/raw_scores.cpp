#include "judge/raw_scores.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "judge/stage_problem.h"

namespace greta {
namespace {

bool is_raw(const Event& event) { return event.unscaled || event.unmasked; }

/// `count` values are [S, n_head, n_pos]; a bundle may say anything of its shape.
bool has_rows(const Event& event, int64_t count) {
  const std::vector<int64_t>& shape = event.shape;
  if (shape.size() != 3 || std::ranges::any_of(shape, [](int64_t n) { return n <= 0; })) return false;
  return shape[0] == std::ssize(positions_of(event)) && count % shape[0] == 0 &&
         count / shape[0] % shape[1] == 0 && count / shape[0] / shape[1] == shape[2];
}

std::vector<float> finished(const Event& event, std::vector<float> scores,
                            const oracle::AttentionShape& attention) {
  const auto scale = static_cast<float>(attention.scale);
  const auto cap = static_cast<float>(attention.cap);
  if (event.unscaled) {
    std::ranges::transform(scores, scores.begin(),
                           [&](float x) { return cap == 0 ? x * scale : cap * std::tanh(x * scale / cap); });
  }
  if (!event.unmasked) return scores;
  const std::vector<int64_t> positions = positions_of(event);
  const size_t n_pos = static_cast<size_t>(event.shape[2]), heads = static_cast<size_t>(event.shape[1]);
  for (size_t i = 0; i < scores.size(); ++i) {
    const int64_t own = positions[i / (heads * n_pos)], seen = static_cast<int64_t>(i % n_pos);
    const bool dropped = attention.window > 0 && seen <= own - attention.window;
    // A mask is added: of NaN and infinity, of a key that a row is not to see, it makes NaN.
    if (seen > own || dropped) scores[i] += -std::numeric_limits<float>::infinity();
  }
  return scores;
}

}  // namespace

std::optional<Bundle> with_scale_and_mask(const Bundle& bundle, const Model& model) {
  if (std::ranges::none_of(bundle.events, is_raw)) return std::nullopt;
  Bundle whole = bundle;
  for (Event& event : whole.events) {
    const std::vector<float>* scores = is_raw(event) ? whole.data(event) : nullptr;
    const std::optional<Stage> stage = stage_from_name(event.stage);
    if (scores == nullptr || !stage || !has_rows(event, std::ssize(*scores))) continue;
    std::vector<float> values =
        finished(event, *scores, model_problem(model, {event.layer, *stage}).attention);
    describe(event, values);
    whole.store(event.hash, std::move(values));
    event.unscaled = event.unmasked = false;
  }
  return whole;
}

}  // namespace greta

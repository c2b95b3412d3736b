#include "model/stage.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace greta {
namespace {

using enum Stage;

std::vector<Stage> stages_that(bool (*predicate)(Stage)) {
  std::vector<Stage> stages;
  for (const StageInfo& row : kStageTable) {
    if (predicate(row.stage)) stages.push_back(row.stage);
  }
  return stages;
}

TEST(Stage, WhatTheTableSaysOfGroups) {
  EXPECT_EQ(stages_that(is_projection),
            (std::vector{q_a, q, k, v, q_absorbed, head_out, attn_out, router, expert_gate, expert_up,
                         expert_down, gate, up, down, shared_gate, logits}));
  EXPECT_EQ(stages_that(feeds_cache),
            (std::vector{x_in, attn_norm, k, v, k_norm, v_norm, k_rope, k_latent, kv_write}));
  EXPECT_EQ(stages_that(is_inside_ffn),
            (std::vector{router, expert_probs, experts, expert_weights, expert_gate, expert_up, expert_act,
                         expert_down, experts_out, gate, up, act, down, shared_gate, shared_out, ffn_out,
                         ffn_post_norm}));
  EXPECT_EQ(stages_that(is_inside_attention), (std::vector{qk, softmax, pv}));
  EXPECT_EQ(stages_that(is_norm_of_projection),
            (std::vector{q_a_norm, q_norm, k_norm, v_norm, attn_post_norm, ffn_post_norm}));
}

TEST(Stage, NamesAreFoundAgain) {
  for (const StageInfo& row : kStageTable) EXPECT_EQ(stage_from_name(name(row.stage)), row.stage);
  EXPECT_EQ(stage_from_name("wq"), std::nullopt);
}

TEST(Stage, PlacesAreInExecutionOrder) {
  const std::vector<At> order = {{0, x_in},         {0, x_out}, {1, x_in}, {1, q}, {kNoLayer, final_norm},
                                 {kNoLayer, logits}};
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  EXPECT_TRUE((At{kNoLayer, final_norm} > At{1000, x_out}));
}

TEST(Stage, OperandsCrossLayersWhereTheStreamDoes) {
  const auto all = [](At) { return true; };
  EXPECT_EQ(operands_of({0, x_in}, 3, all), std::vector<At>{});
  EXPECT_EQ(operands_of({2, x_in}, 3, all), (std::vector<At>{{1, x_out}}));
  EXPECT_EQ(operands_of({2, x_attn}, 3, all), (std::vector<At>{{2, x_in}, {2, attn_post_norm}}));
  EXPECT_EQ(operands_of({kNoLayer, final_norm}, 3, all), (std::vector<At>{{2, x_out}}));
  EXPECT_EQ(operands_of({kNoLayer, logits}, 3, all), (std::vector<At>{{kNoLayer, final_norm}}));
}

TEST(Stage, AStageThatALayerLacksPassesItsFirstInputOn) {
  const auto without_k = [](At at) { return at.stage < k_norm || at.stage > k_latent; };
  EXPECT_EQ(operands_of({1, kv_write}, 3, without_k), (std::vector<At>{{1, k}, {1, v}}));
}

/// What x_out adds of the feed-forward part, where a layer has `some` of its stages and no norm.
Stage added_of(std::initializer_list<Stage> some) {
  const std::vector<Stage> there = some;
  const auto has = [&](At at) {
    return at.stage == x_attn || std::find(there.begin(), there.end(), at.stage) != there.end();
  };
  return operands_of({1, x_out}, 3, has).back().stage;
}

TEST(Stage, TheFeedForwardPartIsWhatTheLayerHasOfIt) {
  EXPECT_EQ(added_of({gate, up, act, down}), down);
  EXPECT_EQ(added_of({router, experts, expert_weights, expert_down, experts_out}), experts_out);
  EXPECT_EQ(added_of({experts_out, down, shared_gate, shared_out, ffn_out}), ffn_out);
  EXPECT_EQ(added_of({experts_out, down, shared_gate, shared_out, ffn_out, ffn_post_norm}), ffn_post_norm);
}

}  // namespace
}  // namespace greta

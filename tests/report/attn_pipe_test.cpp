#include "report/attn_pipe.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "io/testing.h"

namespace greta {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Two heads of two values, one key head, three positions; the last row is the one that counts.
class AttnPipeTest : public ::testing::Test {
 protected:
  AttnPipeTest() {
    bundle_.path = "b";
    bundle_.manifest = {{"experiments", {{{"name", "E3"}, {"force_route", "matrix"}, {"force_gemm", true}}}}};
    add("x_in", {1, 4}, {1, 2, 3, 4});
    add("attn_norm", {1, 4}, {5, 6, 7, 8});
    add("q", {1, 4}, {10, 11, 12, 13}, "matrix");
    add("k", {1, 2}, {20, 21}, "vector");
    add("v", {1, 2}, {30, 31}, "matrix");
    add("qk", {1, 2, 3}, {0.1f, 0.2f, 0.3f, 1, 2, 3});
    add("softmax", {1, 2, 3}, {0.5f, 0.25f, 0.25f, 1, 0, 0});
    add("pv", {1, 4}, {40, 41, 42, 43});
    add("attn_out", {1, 4}, {50, 51, 52, 53});
  }

  void add(const std::string& stage, std::vector<int64_t> shape, std::vector<float> data,
           std::string route = "") {
    Event event;
    event.cell = "E3/p4_sys";
    event.experiment = "E3";
    event.prompt_id = "p4_sys";
    event.phase = kDecode0;
    event.layer = 0;
    event.stage = stage;
    event.positions = {2, 2};
    event.shape = std::move(shape);
    event.route = std::move(route);
    event.hash = hash_floats(data).hex();
    event.summary.count = static_cast<int64_t>(data.size());
    bundle_.store(event.hash, std::move(data));
    bundle_.events.push_back(event);
  }

  Bundle bundle_;
};

TEST_F(AttnPipeTest, LineHasTheFieldsOfB331) {
  const std::string line = attn_pipe_line(attn_pipe_from(bundle_.events, bundle_, "E3/p4_sys", kDecode0));
  EXPECT_EQ(
      line,
      R"({"event":"attn_l0_pipe","phase":"decode0","prompt_id":"p4_sys","q":[10,11],"k":[20,21],"v":[30,31],)"
      R"("qk":[0.1,0.2,0.3],"softmax":[0.5,0.25,0.25],"pv":[40,41],"attn_out":[50,51,52,53],)"
      R"("q_route_used":"MFMA","k_route_used":"VALU","v_route_used":"MFMA","qkv_force_route":"mfma",)"
      R"("qkv_force_gemm":true,"pos_id":2,"seq_len_used":3})");
}

TEST_F(AttnPipeTest, NormIsAddedOnRequest) {
  const auto json = nlohmann::json::parse(
      attn_pipe_line(attn_pipe_from(bundle_.events, bundle_, "E3/p4_sys", kDecode0, true)));
  EXPECT_EQ(json.at("attn_norm_in"), nlohmann::json({1, 2, 3, 4}));
  EXPECT_EQ(json.at("attn_norm_out"), nlohmann::json({5, 6, 7, 8}));
}

TEST_F(AttnPipeTest, OfSeveralRowsTheLastCounts) {
  std::erase_if(bundle_.events, [](const Event& event) { return event.stage == "q" || event.stage == "qk"; });
  add("q", {2, 4}, {0, 0, 0, 0, 14, 15, 16, 17});
  add("qk", {2, 2, 3}, {0, 0, 0, 0, 0, 0, 7, 8, 9, 1, 1, 1});
  const AttnPipe pipe = attn_pipe_from(bundle_.events, bundle_, "E3/p4_sys", kDecode0);
  EXPECT_THAT(pipe.q, ElementsAre(14, 15));
  EXPECT_THAT(pipe.qk, ElementsAre(7, 8, 9));
}

TEST_F(AttnPipeTest, MissingStagesAreEmptyAndNotFiniteIsNull) {
  std::erase_if(bundle_.events,
                [](const Event& event) { return event.stage == "softmax" || event.stage == "v"; });
  add("v", {1, 2}, {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()});
  const auto json =
      nlohmann::json::parse(attn_pipe_line(attn_pipe_from(bundle_.events, bundle_, "E3/p4_sys", kDecode0)));
  EXPECT_EQ(json.at("softmax"), nlohmann::json::array());
  EXPECT_EQ(json.at("v"), nlohmann::json({nullptr, nullptr}));
}

TEST_F(AttnPipeTest, WithoutDataOfQThereIsNoLine) {
  EXPECT_THAT(testing::message_of([&] { attn_pipe_from(bundle_.events, bundle_, "E9/p", kDecode0); }),
              HasSubstr("cell E9/p"));
}

TEST_F(AttnPipeTest, FloatsReadBackExactly) {
  AttnPipe pipe;
  pipe.q = {0.1f, 1e-38f, 3.4028235e38f, 5.37518e-01f, -0.0f};
  const auto json = nlohmann::json::parse(attn_pipe_line(pipe));
  for (size_t i = 0; i < pipe.q.size(); ++i) EXPECT_EQ(json.at("q")[i].get<float>(), pipe.q[i]);
}

}  // namespace
}  // namespace greta

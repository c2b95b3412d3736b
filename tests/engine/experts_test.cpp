// A mixture of experts in the engine: the same bits for every shape, block, number of threads and ISA, in
// every type of weight and on both routes. Tolerance: none.

#include <gmock/gmock.h>

#include "base/error.h"
#include "engine/forward_hashes.h"
#include "engine/tiny_model.h"
#include "kernels/kernel_cases.h"

namespace greta::test {
namespace {

struct Experts : testing::TestWithParam<std::tuple<TensorType, Route>> {
  const Bytes bytes = random_mixtral(std::get<0>(GetParam()));

  Engine open(EngineOptions options = {1, best_isa(), Format::f32}) const {
    return {bind_model(parse_gguf(std::as_bytes(std::span(bytes)), "mixtral.gguf")), options};
  }
  RouteTable routes() const {
    RouteTable all;
    all.add(parse_route_rule("all=" + std::string(name(std::get<1>(GetParam())))));
    all.add(parse_route_rule("router=vector"));
    return all;
  }
  bool has_route() const {
    return find_kernel(cpu_kernels(),
                       {OpKind::expert_matmul, best_isa(), std::get<0>(GetParam()), std::get<1>(GetParam()),
                        Shape::gemm},
                       nullptr) != nullptr;
  }
};

INSTANTIATE_TEST_SUITE_P(Types, Experts,
                         testing::Combine(testing::ValuesIn(kTypes),
                                          testing::Values(Route::vector, Route::matrix)),
                         [](const auto& test) {
                           return std::string(name(std::get<0>(test.param))) + "_" +
                                  std::string(name(std::get<1>(test.param)));
                         });

TEST_P(Experts, PrefillIsDecodeBitForBit) {
  if (!has_route()) GTEST_SKIP() << "no such unit";
  const std::vector<int32_t> tokens = random_tokens(130);
  const auto first = [&](int64_t n) { return std::span(tokens).first(static_cast<size_t>(n)); };
  Engine engine = open();
  const RouteTable all = routes();
  const std::vector<StageHashes> steps = decode_all(engine, tokens, all);
  // Each S in one type of either kind, some in the others.
  const TensorType type = std::get<0>(GetParam());
  const bool each = type == TensorType::q8_0 || type == TensorType::bf16;
  for (int64_t s = 1; s <= 130; s += each ? 1 : 43)
    ASSERT_EQ(prefill(engine, first(s), s, all), steps[static_cast<size_t>(s - 1)]) << "S = " << s;
  for (const int64_t block : {1, 7, 33})
    EXPECT_EQ(prefill(engine, first(97), block, all), steps[96]) << "blocks of " << block;
  for (const int threads : {2, 3}) {
    Engine many = open({threads, best_isa(), Format::f32});
    EXPECT_EQ(prefill(many, first(97), 97, all), steps[96]) << threads << " threads";
    EXPECT_EQ(decode_all(many, first(20), all).back(), steps[19]) << threads << " threads";
  }
  for (const Isa isa : {Isa::scalar, Isa::avx2}) {
    if (isa > best_isa()) continue;
    Engine other = open({1, isa, Format::f32});
    EXPECT_EQ(prefill(other, first(65), 65, all), steps[64]) << name(isa);
    EXPECT_EQ(decode_all(other, first(20), all).back(), steps[19]) << name(isa);
  }
}

TEST(ExpertsOnADevice, AreRefusedInOneLine) {
  const Bytes bytes = random_mixtral(TensorType::f16);
  std::string said;
  try {
    Engine engine{bind_model(parse_gguf(std::as_bytes(std::span(bytes)), "mixtral.gguf")),
                  {.threads = 1, .device = "emu:h100"}};
    engine.plan(Phase::prefill, 4, {});
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    said = error.what();
  }
  EXPECT_THAT(said,
              testing::HasSubstr("mixtral.gguf is a mixture of experts, for which emu:h100 has no kernels"));
}

TEST(ExpertsOnADevice, RunOnASimulatedUnit) {
  const Bytes bytes = random_mixtral(TensorType::f16);
  Engine engine{bind_model(parse_gguf(std::as_bytes(std::span(bytes)), "mixtral.gguf")),
                {.threads = 2, .device = "sim:mi300x", .invariant = true}};
  const std::vector<int32_t> tokens = random_tokens(9);
  const std::vector<StageHashes> steps = decode_all(engine, tokens, {});
  EXPECT_EQ(prefill(engine, tokens, 9, {}), steps[8]);
}

}  // namespace
}  // namespace greta::test

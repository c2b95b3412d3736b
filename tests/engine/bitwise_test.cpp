// The contract: prefill row i equals decode at position i in every stage, bit for bit, for every S, thread
// count, ISA, chunking and position in the batch. Tolerance: none.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "engine/forward_hashes.h"
#include "engine/kernel_table.h"
#include "engine/tiny_model.h"

namespace greta {
namespace {

using test::decode_all;
using test::prefill;
using test::StageHashes;
using test::TinyEngine;

RouteTable routes_for(Route route) {
  RouteTable table;
  table.add(parse_route_rule("all=" + std::string(name(route))));
  return table;
}

struct Case {
  TensorType type;
  Route route;
};

class Bitwise : public testing::TestWithParam<Case> {};

std::string case_name(const testing::TestParamInfo<Case>& info) {
  return std::string(name(info.param.type)) + "_" + std::string(name(info.param.route));
}

/// Every type and route of the kernel table.
std::vector<Case> cases() {
  std::vector<Case> all;
  for (const KernelInfo& kernel : kernel_table()) {
    if (kernel.op == OpKind::matmul && kernel.device == "cpu" && kernel.isa == Isa::scalar &&
        kernel.shape == Shape::gemm) {
      all.push_back({*kernel.weight_type, *kernel.route});
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Types, Bitwise, testing::ValuesIn(cases()), case_name);

/// f32 and 16-bit models have a q8_0 embedding here,
/// so the logits of a matrix-route case have a matrix kernel.
TEST_P(Bitwise, PrefillEqualsDecodeForEveryS) {
  TinyEngine tiny(GetParam().type, {2, best_isa(), Format::f32});
  const RouteTable routes = routes_for(GetParam().route);
#ifndef GRETA_SANITIZED
  std::set<int64_t> lengths{255, 256, 257, 400, 1000};
  for (int64_t s = 1; s <= 130; ++s) lengths.insert(s);
#else  // sanitizers look at memory and threads, not at bits: some lengths will do
  const std::set<int64_t> lengths{1, 2, 7, 16, 17, 33, 130};
#endif
  const std::vector<int32_t> tokens = test::random_tokens(*lengths.rbegin());
  const std::vector<StageHashes> steps = decode_all(tiny.engine, tokens, routes);
  for (const int64_t s : lengths) {
    const StageHashes block =
        prefill(tiny.engine, std::span(tokens).first(static_cast<size_t>(s)), s, routes);
    ASSERT_EQ(block.size(), steps[0].size());
    ASSERT_EQ(block, steps[static_cast<size_t>(s) - 1]) << "S = " << s;
  }
}

TEST_P(Bitwise, ChunkingChangesNothing) {
  TinyEngine tiny(GetParam().type);
  const RouteTable routes = routes_for(GetParam().route);
  const std::vector<int32_t> tokens = test::random_tokens(100);
  const StageHashes whole = prefill(tiny.engine, tokens, 100, routes);
  for (const int64_t block : {1, 7, 16, 33, 64, 99}) {
    EXPECT_EQ(prefill(tiny.engine, tokens, block, routes), whole) << "blocks of " << block;
  }
}

TEST_P(Bitwise, ThreadsChangeNothing) {
  const std::vector<int32_t> tokens = test::random_tokens(37);
  const RouteTable routes = routes_for(GetParam().route);
  TinyEngine one(GetParam().type);
  const StageHashes whole = prefill(one.engine, tokens, 37, routes);
  const std::vector<StageHashes> steps = decode_all(one.engine, tokens, routes);
  for (const int threads : {2, 3, 8}) {
    TinyEngine many(GetParam().type, {threads, best_isa(), Format::f32});
    EXPECT_EQ(prefill(many.engine, tokens, 37, routes), whole) << threads << " threads";
    EXPECT_EQ(decode_all(many.engine, tokens, routes), steps) << threads << " threads";
  }
}

TEST_P(Bitwise, IsaChangesNothing) {
  const std::vector<int32_t> tokens = test::random_tokens(33);
  const RouteTable routes = routes_for(GetParam().route);
  TinyEngine scalar(GetParam().type, {1, Isa::scalar, Format::f32});
  const StageHashes whole = prefill(scalar.engine, tokens, 33, routes);
  for (const Isa isa : {Isa::avx2, Isa::avx512}) {
    if (isa > best_isa()) continue;
    TinyEngine wide(GetParam().type, {1, isa, Format::f32});
    EXPECT_EQ(prefill(wide.engine, tokens, 33, routes), whole) << name(isa);
    EXPECT_EQ(decode_all(wide.engine, tokens, routes).back(), whole) << name(isa);
  }
}

TEST(BitwiseKv, NarrowCachesKeepTheContract) {
  // Heads of 64 dims (tests/engine/tiny_model.h): whole blocks of q8_0.
  const std::vector<int32_t> tokens = test::random_tokens(70);
  std::vector<StageHashes> seen;
  for (const Format format : {Format::f32, Format::f16, Format::q8_0}) {
    TinyEngine tiny(TensorType::q4_k, {2, best_isa(), format});
    const StageHashes whole = prefill(tiny.engine, tokens, 70, {});
    EXPECT_EQ(whole, decode_all(tiny.engine, tokens, {}).back()) << name(format);
    EXPECT_EQ(whole, prefill(tiny.engine, tokens, 16, {})) << name(format);
    TinyEngine scalar(TensorType::q4_k, {1, Isa::scalar, format});
    EXPECT_EQ(whole, prefill(scalar.engine, tokens, 70, {})) << name(format);
    EXPECT_EQ(std::find(seen.begin(), seen.end(), whole), seen.end()) << name(format) << " is in use";
    seen.push_back(whole);
  }
}

TEST(BitwiseKv, Q8NeedsHeadsOfWholeBlocks) {
  TinyEngine tiny(TensorType::q4_1, {1, best_isa(), Format::q8_0});
  try {
    Session session(tiny.engine, 16);
    FAIL() << "heads of 16 dims";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("multiple of 32 dims"), std::string::npos) << error.what();
  }
}

// What a cache reads back as it writes again, and moves as bytes: blocks with scales of all sizes.
TEST(BitwiseKv, RowsOfEveryFormatCanBeReadWrittenAndCopied) {
  for (const Format format : {Format::f32, Format::f16, Format::q8_0}) {
    TinyEngine tiny(TensorType::q4_k, {1, best_isa(), format});
    const ModelConfig& config = tiny.engine.model().config;
    KvCache from(config, 40, format), to(config, 40, format);
    std::vector<float> row(static_cast<size_t>(2 * config.n_head_kv * config.head_dim));
    test::Noise noise(3);
    for (size_t i = 0; i < row.size(); ++i)
      row[i] = std::ldexp(noise.next(), -static_cast<int>(i / 32) * 3 + 4);
    write_cache_row(from.layer(0), 17, row);
    std::vector<float> rounded = row;
    round_to_cache(rounded, format);
    EXPECT_EQ(read_cache_row(from.layer(0), 17), rounded) << name(format);
    copy_cache_row(from.layer(0), to.layer(0), 17);
    EXPECT_EQ(read_cache_row(to.layer(0), 17), rounded) << name(format);
    EXPECT_EQ(cached_value(to.layer(0), 17, 1, 3),
              rounded[static_cast<size_t>((config.n_head_kv + 1) * config.head_dim + 3)]);
    for (const float x : read_cache_row(to.layer(0), 16)) EXPECT_TRUE(std::isnan(x)) << name(format);
  }
}

TEST(BitwiseKv, RecycledSlotsChangeNothing) {
  TinyEngine tiny(TensorType::q4_1);
  const std::vector<int32_t> tokens = test::random_tokens(40);
  StageHashes hashes;
  Plan plan = tiny.engine.plan(Phase::prefill, 64);
  test::hash_stages(plan, hashes);
  Session session(tiny.engine, 64);
  session.forward(plan, tokens);
  const StageHashes first = hashes;
  session.cache().truncate(0);
  session.forward(plan, std::vector<int32_t>(60, 5));
  session.cache().truncate(0);
  session.forward(plan, tokens);
  EXPECT_EQ(hashes, first);
}

TEST(BitwiseFusion, TakenApartAttentionGivesTheSameLogits) {
  TinyEngine tiny(TensorType::q4_1, {2, best_isa(), Format::f32});
  const std::vector<int32_t> tokens = test::random_tokens(50);
  const auto logits = [&](bool apart) {
    Plan plan = tiny.engine.plan(Phase::prefill, 50);
    if (apart) PlanEdit(plan).unfuse_all();
    Session session(tiny.engine, 50);
    const std::span<const float> row = session.forward(plan, tokens);
    return std::vector<float>(row.begin(), row.end());
  };
  EXPECT_EQ(hash_floats(logits(true)), hash_floats(logits(false)));
}

}  // namespace
}  // namespace greta

// The kernels of kernels/gpu, emulated, against the CPU's: equal bits, both widths of waves, odd shapes.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "emulator/device.h"
#include "emulator/lanes.h"
#include "emulator/work_group.h"
#include "kernels/gpu/table.h"
#include "kernels/kernel_cases.h"
#include "sim/device.h"
#include "sim/matmul.h"

namespace greta::test {
namespace {

/// Every kernel by name on a card that is emulated. 16-bit products are compared with the simulated unit.
class Emulated : public testing::TestWithParam<emulator::Card> {
 protected:
  const KernelInfo& kernel(std::string_view name) const {
    static const std::vector<KernelInfo> all = [] {
      std::vector<gpu::Unit> units;
      for (const sim::Device& unit : sim::devices()) units.push_back({unit.name, unit.bf16, unit.f16});
      std::erase_if(units, [](const gpu::Unit& unit) { return unit.bf16.empty(); });
      return gpu::kernel_infos("emu", units, sim::matrix_slices, "");
    }();
    for (const KernelInfo& kernel : all) {
      if (kernel.name == fmt::format("emu.{}", name) ||
          kernel.name == fmt::format("emu.{}.{}", GetParam().name, name))
        return kernel;
    }
    ADD_FAILURE() << name;
    return all.front();
  }

  /// Runs the kernel on the emulator. Its memory is the host's: addresses are the same.
  void launch(const KernelInfo& of, const KernelArgs& args) {
    gpu::Stamp stamp;
    gpu::Args device =
        gpu::args_of(args, args.weight != nullptr ? args.weight->bytes.data() : nullptr, &args.position);
    device.stamp = &stamp;
    device_->launch(*of.on_device, std::span(&device, 1));
    EXPECT_EQ(stamp.kernel, static_cast<int32_t>(of.on_device->id)) << of.name;
    EXPECT_EQ(stamp.count, 1U);
  }

  /// The output of the emulated kernel, and that of the CPU's kernel of the same bits.
  void expect_same(const KernelInfo& of, KernelArgs args) {
    Matrix got(args.out.rows, args.out.cols, args.out.format),
        want(args.out.rows, args.out.cols, args.out.format);
    args.out = got.view();
    launch(of, args);
    args.out = want.view();
    args.kernel = &of;
    Launch launched;
    args.launch = &launched;
    run(of, args);
    if (args.out.format == Format::f32) {
      EXPECT_EQ(difference(want.view(), got.view()), "") << of.name;
      return;
    }
    const int64_t k = args.in[0].cols;
    const int64_t bytes = args.out.format == Format::q8_block32
                              ? k / kBlock * int64_t{sizeof(ActivationBlock)}
                              : (k + 1) / 2 * 4;
    for (int64_t r = 0; r < want.view().rows; ++r) {
      EXPECT_EQ(std::memcmp(want.view().raw_row(r), got.view().raw_row(r), static_cast<size_t>(bytes)), 0)
          << of.name << ", row " << r;
    }
  }

  ThreadPool pool_{1};
  std::unique_ptr<gpu::Device> device_ = emulator::make_device(GetParam(), pool_, 7);
};

KernelArgs rows(const Matrix& in, int64_t out_cols, Format format = Format::f32) {
  KernelArgs args;
  args.in[0] = in.view();
  args.out = {nullptr, in.view().rows, out_cols, 0, format};
  return args;
}

TEST_P(Emulated, ProductsHaveTheBitsOfTheCpu) {
  for (const gpu::Kernel& entry : gpu::kernels()) {
    if (entry.op != OpKind::matmul) continue;
    const KernelInfo& info = kernel(fmt::format("{}.{}", entry.name, name(*entry.type)));
    const bool plain = block_code(*entry.type).bits == 0;
    // Panels that are not full, waves without a panel, steps of blocks that are not full, rows beyond a tile.
    const int64_t n = 37,
                  k = plain ? (entry.route == Route::matrix ? 845 : 77) : row_length(*entry.type, 608);
    const PackedWeight weight = random_weight(*entry.type, n, k, 1);
    const std::vector<int64_t> sizes =
        entry.shape == Shape::gemv ? std::vector<int64_t>{1} : std::vector<int64_t>{1, 35, 75};
    for (const int64_t s : sizes) {
      const Matrix x = Matrix::random(s, k, 2);
      const Format format = entry.roundings.activation;
      const KernelInfo* quantize = row_kernel(OpKind::quantize, Isa::scalar, format);
      Matrix rounded(s, k, format);
      KernelArgs args = rows(x, n);
      if (entry.route == Route::matrix) {
        KernelArgs rounding = args;
        rounding.out = rounded.view();
        run(*quantize, rounding);
        args.in[0] = rounded.view();
      }
      args.weight = &weight;
      expect_same(info, args);
      const Matrix bias = Matrix::random(1, 48, 3);
      args.bias = bias.view().row(0);
      args.params.scale = 0.7f;
      expect_same(info, args);
    }
  }
}

TEST_P(Emulated, LongRowsGoRoundTheRingOfAGemv) {
  for (const gpu::Kernel& entry : gpu::kernels()) {
    if (entry.shape != Shape::gemv || entry.route != Route::matrix) continue;
    // Work-groups of several panels, whose rings go round several times and end in the middle.
    const int64_t n = 53, k = row_length(*entry.type, 5984);
    const PackedWeight weight = random_weight(*entry.type, n, k, 18);
    const Matrix x = Matrix::random(1, k, 19);
    const Format format = entry.roundings.activation;
    Matrix rounded(1, k, format);
    KernelArgs args = rows(x, n);
    args.out = rounded.view();
    run(*row_kernel(OpKind::quantize, Isa::scalar, format), args);
    args = rows(x, n);
    args.in[0] = rounded.view();
    args.weight = &weight;
    expect_same(kernel(fmt::format("{}.{}", entry.name, name(*entry.type))), args);
  }
}

TEST_P(Emulated, RowsHaveTheBitsOfTheCpu) {
  for (const int64_t cols : {32, 576, 1312, 4128}) {
    const Matrix a = Matrix::random(3, cols, 4, 9), b = Matrix::random(3, cols, 5),
                 w = Matrix::random(1, cols, 6);
    KernelArgs pair = rows(a, cols);
    pair.in[1] = b.view();
    pair.params.scale = 0.3f;
    KernelArgs norm = rows(a, cols);
    norm.in[1] = w.view();
    norm.params.eps = 1e-5f;
    for (const char* name : {"add", "silu_mul", "gelu_mul"}) expect_same(kernel(name), pair);
    expect_same(kernel("rms_norm"), norm);
    pair.out.format = norm.out.format = Format::q8_block32;
    for (const char* name : {"quantize.q8_block32", "silu_mul.q8_block32", "gelu_mul.q8_block32"})
      expect_same(kernel(name), pair);
    expect_same(kernel("rms_norm.q8_block32"), norm);
  }
  for (const int64_t cols : {1, 77, 576}) {
    const Matrix x = Matrix::random(3, cols, 20);
    expect_same(kernel("quantize.bf16"), rows(x, cols, Format::bf16));
    expect_same(kernel("quantize.f16"), rows(x, cols, Format::f16));
  }
  const Matrix odd = Matrix::random(2, 3 * 21, 7), w = Matrix::random(1, 21, 8);
  KernelArgs heads = rows(odd, 63);
  heads.in[1] = w.view();
  expect_same(kernel("rms_norm"), heads);
}

TEST_P(Emulated, WhatIsNotFiniteIsRoundedAlike) {
  Matrix x = Matrix::random(4, 64, 9);
  x.at(0, 3) = std::nanf("");
  x.at(1, 40) = INFINITY;
  for (int64_t i = 0; i < 64; ++i) x.at(2, i) = 0, x.at(3, i) *= 0x1p-140f;
  Matrix got(4, 64, Format::q8_block32), want(4, 64, Format::q8_block32);
  KernelArgs args = rows(x, 64, Format::q8_block32);
  args.out = got.view();
  launch(kernel("quantize.q8_block32"), args);
  args.out = want.view();
  run(*row_kernel(OpKind::quantize, Isa::scalar, Format::q8_block32), args);
  for (int64_t r = 0; r < 4; ++r) {
    for (int64_t b = 0; b < 2; ++b) {
      const ActivationBlock &p = got.view().row<ActivationBlock>(r)[b],
                            &q = want.view().row<ActivationBlock>(r)[b];
      EXPECT_TRUE(same(p.d, q.d) && same(p.s, q.s)) << r << ", " << b;
      EXPECT_EQ(std::memcmp(p.q, q.q, 32), 0);
      EXPECT_TRUE(p.sum == q.sum && p.sum_low == q.sum_low);
    }
  }
}

TEST_P(Emulated, RopeAndEmbeddingHaveTheBitsOfTheCpu) {
  const Matrix turns = Matrix::random(1, 24, 10, 0.1f);
  for (const bool adjacent : {false, true}) {
    KernelArgs args;
    args.out = {nullptr, 3, 24, 0, Format::f32};
    args.position = 1000;
    args.params = {.n_head = 2, .head_dim = 30, .rope_dims = 24, .rope_adjacent = adjacent};
    args.params.rope_turns = turns.view().row(0);
    expect_same(kernel("rope_table"), args);
    const Matrix x = Matrix::random(3, 60, 11), table = Matrix::random(3, 24, 12);
    args.in = {x.view(), table.view()};
    args.out.cols = 60;
    expect_same(kernel("rope"), args);
  }
  Matrix ids(3, 1, Format::i32);
  for (int32_t i = 0; i < 3; ++i) *ids.view().row<int32_t>(i) = 17 * i;
  for (const gpu::Kernel& entry : gpu::kernels()) {
    if (entry.op != OpKind::embed) continue;
    const int64_t k = block_code(*entry.type).bits == 0 ? 77 : row_length(*entry.type, 64);
    const PackedWeight weight = random_weight(*entry.type, 37, k, 13);
    KernelArgs args = rows(ids, k);
    args.weight = &weight;
    args.params.scale = 1.7f;
    expect_same(kernel(fmt::format("embed.{}", name(*entry.type))), args);
  }
}

struct CachedRows {
  Format format;
  int64_t position, window;
};

TEST_P(Emulated, AttentionHasTheBitsOfTheCpu) {
  constexpr int64_t kQueryHeads = 4, kKvHeads = 2, kDim = 32;
  // The longest needs more than one chunk of scores.
  for (const CachedRows& scene : {CachedRows{Format::f32, 0, 0},
                                  {Format::f32, 2060, 0},
                                  {Format::f16, 50, 20},
                                  {Format::q8_0, 50, 0}}) {
    constexpr int64_t kRows = 3;
    const int64_t n_pos = scene.position + kRows, capacity = round_up(n_pos, 16) + 16;
    AlignedBytes mine[2], cpus[2];
    for (AlignedBytes& side : {std::ref(mine[0]), std::ref(mine[1]), std::ref(cpus[0]), std::ref(cpus[1])}) {
      side = AlignedBytes(kKvHeads * capacity * kDim * 4);
      std::memset(side.data(), 0xff, static_cast<size_t>(side.size()));
    }
    const auto view = [&](AlignedBytes* side) {
      return KvView{side[0].data(), side[1].data(), scene.format, capacity, kKvHeads, kDim};
    };
    const Matrix k = Matrix::random(n_pos, kKvHeads * kDim, 14),
                 v = Matrix::random(n_pos, kKvHeads * kDim, 15);
    KernelArgs args;
    args.in = {k.view(), v.view()};
    args.cache = view(mine);
    launch(kernel("kv_write"), args);
    args.cache = view(cpus);
    run(*row_kernel(OpKind::kv_write, Isa::scalar), args);
    for (int i = 0; i < 2; ++i)
      ASSERT_EQ(std::memcmp(mine[i].data(), cpus[i].data(), static_cast<size_t>(mine[i].size())), 0);

    const Matrix q = Matrix::random(kRows, kQueryHeads * kDim, 16);
    const Matrix scores = Matrix::random(kRows * kQueryHeads, n_pos, 17, 20);
    AlignedBytes scratch(attention_scratch_floats(n_pos) * 4);
    args = rows(q, n_pos);
    args.scratch = {scratch.data(), 1, attention_scratch_floats(n_pos), scratch.size(), Format::f32};
    args.cache = view(cpus);
    args.position = scene.position;
    args.block_rows = kRows;
    args.params = {.scale = 0.37f, .n_head = kQueryHeads, .head_dim = kDim, .window = scene.window};
    args.out.rows = kRows * kQueryHeads;
    expect_same(kernel("qk"), args);
    args.out = {nullptr, kRows, kQueryHeads * kDim, 0, Format::f32};
    expect_same(kernel("attention"), args);
    args.in[0] = scores.view();
    expect_same(kernel("pv"), args);
    args.out = {nullptr, kRows * kQueryHeads, n_pos, 0, Format::f32};
    expect_same(kernel("softmax"), args);
  }
}

/// The first lane waits at a gate for turn kTurn; then another one passes it kPasses times.
template <int kTurn, int kPasses>
void wait_at_a_gate(const gpu::Args*) {
  auto* const counts = emulator::shared<uint32_t>(2);
  if (emulator::thread_index() == 0) counts[0] = counts[1] = 0;
  emulator::meet();
  if (emulator::thread_index() == 0) {
    counts[1] = 1;
    emulator::wait_past(counts[0], kTurn);
  } else if (emulator::thread_index() == 1) {
    emulator::wait_past(counts[1], 0);
    counts[0] += kPasses;
  }
}

std::string end_of(emulator::Body body) {
  try {
    emulator::WorkGroup(5).run(body, nullptr, {1, 1, 64}, 0, 0);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(EmulatedGates, AWaitThatARealGateCannotTellFromAnotherIsAnError) {
  EXPECT_EQ(end_of(wait_at_a_gate<0, 1>), "");
  EXPECT_THAT(end_of(wait_at_a_gate<0, 0>), testing::HasSubstr("wait for others"));
  EXPECT_THAT(end_of(wait_at_a_gate<1, 2>), testing::HasSubstr("not the next one"));  // too early
  EXPECT_THAT(end_of(wait_at_a_gate<0, 2>), testing::HasSubstr("not the next one"));  // too late
}

INSTANTIATE_TEST_SUITE_P(Cards, Emulated, testing::ValuesIn(emulator::cards()),
                         [](const auto& card) { return std::string(card.param.name); });

}  // namespace
}  // namespace greta::test

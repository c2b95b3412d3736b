// What one kernel makes of several ops: the bits that their kernels leave in turn. Tolerance: none.

#include "kernels/gpu/launches.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "emulator/device.h"
#include "kernels/kernel_cases.h"

namespace greta::test {
namespace {

const gpu::Kernel& kernel_called(std::string_view symbol) {
  for (const gpu::Kernel& kernel : gpu::kernels()) {
    if (symbol == std::string_view(kernel.symbol).substr(6)) return kernel;
  }
  ADD_FAILURE() << symbol;
  return gpu::kernels().front();
}

/// Memory that ops write, once for each way to run them.
class Written {
 public:
  Written(int64_t rows, int64_t cols, Format format = Format::f32)
      : sides_{Matrix(rows, cols, format), Matrix(rows, cols, format)} {}
  View view(bool joined) const { return sides_[joined].view(); }
  bool equal() const {
    const View a = view(false), b = view(true);
    return std::memcmp(a.data, b.data, static_cast<size_t>(a.rows * a.stride)) == 0;
  }

 private:
  Matrix sides_[2];
};

struct TestCache {
  AlignedBytes keys, values;
  KvView view;

  TestCache(Format format, int64_t capacity, int64_t heads, int64_t head_dim)
      : keys(capacity * heads * head_dim * 4), values(keys.size()) {
    for (AlignedBytes* side : {&keys, &values})
      std::memset(side->data(), 0xff, static_cast<size_t>(side->size()));
    view = {keys.data(), values.data(), format, capacity, heads, head_dim};
  }
};

/// What an op makes, and the end of its kernel's name.
struct Made {
  Format format;
  const char* suffix;
};
constexpr Made kFormats[] = {
    {Format::f32, ""}, {Format::q8_block32, "_q8"}, {Format::bf16, "_bf16"}, {Format::f16, "_f16"}};

struct CacheScene {
  Format cache;
  int64_t position, window, head_dim, group;
  int rounding;  // of kFormats
};

/// Keys and values of earlier positions, the same on both sides.
void fill(TestCache& cache, int64_t positions) {
  const int64_t cols = cache.view.n_head_kv * cache.view.head_dim;
  if (positions == 0) return;
  const Matrix k = Matrix::random(positions, cols, 4), v = Matrix::random(positions, cols, 5);
  KernelArgs args;
  args.in = {k.view(), v.view()};
  args.cache = cache.view;
  run(*row_kernel(OpKind::kv_write, Isa::scalar), args);
}

class Joined : public testing::TestWithParam<emulator::Card> {
 protected:
  void alone(std::span<const gpu::Task> tasks) {
    for (const gpu::Task& task : tasks) device_->launch(*task.kernel, std::span(&task.args, 1));
  }
  /// All together, the last one by the kernel of that name.
  void joined(std::span<const gpu::Task> tasks, std::string_view name) {
    const gpu::Launched next = gpu::next_launch(tasks, device_->chip());
    EXPECT_EQ(next.kernels.back()->name, name);
    ASSERT_EQ(next.count, tasks.size()) << name;
    std::vector<gpu::Args> parts;
    for (const gpu::Task& task : tasks) parts.push_back(task.args);
    for (const gpu::Kernel* kernel : next.kernels) device_->launch(*kernel, parts);
  }
  gpu::Task task(std::string_view symbol, const KernelArgs& args, bool waits = true) const {
    return {&kernel_called(symbol),
            gpu::args_of(args, args.weight != nullptr ? args.weight->bytes.data() : nullptr, &position_),
            waits};
  }

  /// `far`: of so many positions that several work-groups have a head.
  void attention_of_a_step(const CacheScene& of, bool far) {
    constexpr int64_t kKvHeads = 2;
    position_ = of.position;
    const int64_t heads = kKvHeads * of.group, dims = of.head_dim / 2 * 2,
                  capacity = round_up(of.position + 1, 16);
    const Made& made = kFormats[of.rounding];
    const Matrix q = Matrix::random(1, heads * of.head_dim, 6),
                 k = Matrix::random(1, kKvHeads * of.head_dim, 7),
                 v = Matrix::random(1, kKvHeads * of.head_dim, 8), table = Matrix::random(1, dims, 9);
    const Written out(1, heads * of.head_dim, made.format), q_rope(1, heads * of.head_dim),
        k_rope(1, kKvHeads * of.head_dim);
    TestCache caches[2] = {{of.cache, capacity, kKvHeads, of.head_dim},
                           {of.cache, capacity, kKvHeads, of.head_dim}};
    for (TestCache& cache : caches) fill(cache, of.position);
    AlignedBytes scratch(gpu::attention_scratch_bytes(1, heads, caches[0].view, device_->chip()));
    const auto tasks = [&](bool side) {
      KernelArgs rope_q, rope_k, write, attention;
      rope_q.params = {.head_dim = of.head_dim, .rope_dims = dims, .rope_adjacent = of.group == 2};
      rope_k.params = rope_q.params;
      rope_q.in = {q.view(), table.view()}, rope_q.out = q_rope.view(side);
      rope_k.in = {k.view(), table.view()}, rope_k.out = k_rope.view(side);
      write.in = {k_rope.view(side), v.view()}, write.cache = caches[side].view;
      attention.in[0] = q_rope.view(side), attention.out = out.view(side),
      attention.cache = caches[side].view;
      attention.params = {.scale = 0.37f, .n_head = heads, .head_dim = of.head_dim, .window = of.window};
      std::vector all{task("rope", rope_q), task("rope", rope_k, false), task("kv_write", write),
                      task(fmt::format("attention{}", made.suffix), attention)};
      all.back().args.scratch = scratch.data(), all.back().args.scratch_bytes = scratch.size();
      all.back().args.far = far;
      return all;
    };
    alone(tasks(false));
    joined(tasks(true), far ? "softmax+pv" : "rope+rope+kv_write+attention");
    EXPECT_TRUE(out.equal()) << of.position << ", " << of.head_dim;
    EXPECT_EQ(
        std::memcmp(caches[0].keys.data(), caches[1].keys.data(), static_cast<size_t>(caches[0].keys.size())),
        0);
    EXPECT_EQ(std::memcmp(caches[0].values.data(), caches[1].values.data(),
                          static_cast<size_t>(caches[0].keys.size())),
              0);
  }

  ThreadPool pool_{1};
  std::unique_ptr<gpu::Device> device_ = emulator::make_device(GetParam(), pool_, 23);
  int64_t position_ = 0;
};

TEST_P(Joined, ASumAndItsNorm) {
  for (const int64_t cols : {32, 576, 4128}) {
    for (const Made& made : kFormats) {
      const int64_t rows = cols == 576 ? 3 : 1;
      const Matrix a = Matrix::random(rows, cols, 1, 9), b = Matrix::random(rows, cols, 2),
                   w = Matrix::random(1, cols, 3);
      const Written sum(rows, cols), norm(rows, cols, made.format);
      const auto tasks = [&](bool side) {
        KernelArgs add, of;
        add.in = {a.view(), b.view()}, add.out = sum.view(side), add.params.scale = 0.3f;
        of.in = {sum.view(side), w.view()}, of.out = norm.view(side), of.params.eps = 1e-5f;
        return std::vector{task("add", add), task(fmt::format("rms_norm{}", made.suffix), of)};
      };
      alone(tasks(false));
      joined(tasks(true), "add+rms_norm");
      EXPECT_TRUE(sum.equal() && norm.equal()) << cols << made.suffix;
    }
  }
}

TEST_P(Joined, TheAttentionOfAStep) {
  for (const CacheScene& of : {CacheScene{Format::f32, 0, 0, 32, 2, 0},
                               {Format::f32, 1000, 0, 128, 3, 1},
                               {Format::f32, 77, 20, 21, 1, 0},
                               {Format::f32, 77, 20, 16, 5, 0},
                               {Format::f16, 300, 0, 64, 2, 2},
                               {Format::q8_0, 50, 0, 32, 2, 1},
                               {Format::f16, 2047, 0, 96, 7, 3},
                               {Format::q8_0, 1041, 0, 64, 5, 2},
                               {Format::q8_0, 300, 37, 256, 1, 3}}) {
    attention_of_a_step(of, false);
    if (of.head_dim % 16 == 0) attention_of_a_step(of, true);
  }
}

TEST_P(Joined, AttentionOfManyRowsByTiles) {
  constexpr int64_t kKvHeads = 2;
  struct RowBlock {
    CacheScene scene;
    int64_t rows;
    bool scarce = false;  // scratch for one work-group
  };
  for (const RowBlock& block : {RowBlock{{Format::f32, 0, 0, 32, 2, 0}, 3},
                                {{Format::f32, 250, 0, 128, 3, 1}, 45},
                                {{Format::f32, 150, 20, 64, 4, 3}, 21, true},
                                {{Format::f16, 50, 0, 48, 2, 2}, 70},
                                {{Format::q8_0, 120, 100, 256, 1, 1}, 40},
                                {{Format::q8_0, 0, 0, 32, 5, 0}, 17}}) {
    const CacheScene& of = block.scene;
    const int64_t rows = block.rows;
    position_ = of.position;
    const int64_t heads = kKvHeads * of.group, n_pos = of.position + rows,
                  capacity = round_up(n_pos, 16) + 16;
    const Made& made = kFormats[of.rounding];
    const Matrix q = Matrix::random(rows, heads * of.head_dim, 10);
    const Written out(rows, heads * of.head_dim, made.format);
    TestCache cache(of.cache, capacity, kKvHeads, of.head_dim);
    fill(cache, n_pos);
    int64_t bytes = gpu::attention_scratch_bytes(rows, heads, cache.view, device_->chip());
    if (block.scarce)
      bytes = gpu::attention_scratch_bytes(1, kKvHeads, cache.view, device_->chip()) / kKvHeads;
    AlignedBytes scratch(bytes);
    const auto tasks = [&](bool side) {
      KernelArgs attention;
      attention.in[0] = q.view(), attention.out = out.view(side), attention.cache = cache.view;
      attention.params = {.scale = 0.37f, .n_head = heads, .head_dim = of.head_dim, .window = of.window};
      std::vector all{task(fmt::format("attention{}", made.suffix), attention)};
      all[0].args.scratch = scratch.data(), all[0].args.scratch_bytes = scratch.size();
      return all;
    };
    alone(tasks(false));
    joined(tasks(true), "attention.tile");
    EXPECT_TRUE(out.equal()) << of.position << ", " << of.head_dim;
  }
}

TEST_P(Joined, ProductsOfOneInput) {
  for (const char* type_name : {"q4_k", "q8_0", "bf16"}) {
    const TensorType type = type_name[1] == '4'   ? TensorType::q4_k
                            : type_name[1] == '8' ? TensorType::q8_0
                                                  : TensorType::bf16;
    const Format format = type == TensorType::bf16 ? Format::bf16 : Format::q8_block32;
    for (const int64_t rows : {1, 35}) {
      const int64_t k = 512, sizes[] = {150, 37, 70};
      const Matrix x = Matrix::random(rows, k, 11);
      Matrix rounded(rows, k, format);
      KernelArgs rounding;
      rounding.in[0] = x.view(), rounding.out = rounded.view();
      run(*row_kernel(OpKind::quantize, Isa::scalar, format), rounding);
      const std::string symbol = fmt::format("{}_{}", rows == 1 ? "gemv" : "gemm", type_name);
      std::vector<PackedWeight> weights;
      std::vector<Written> outs;
      for (const int64_t n : sizes) {
        weights.push_back(random_weight(type, n, k, static_cast<uint64_t>(n)));
        outs.emplace_back(rows, n);
      }
      for (const size_t count : {2U, 3U}) {
        const auto tasks = [&](bool side) {
          std::vector<gpu::Task> all;
          for (size_t i = 0; i < count; ++i) {
            KernelArgs product;
            product.in[0] = rounded.view(), product.weight = &weights[i], product.out = outs[i].view(side);
            all.push_back(task(symbol, product, i == 0));
          }
          return all;
        };
        alone(tasks(false));
        joined(tasks(true), rows == 1 ? "gemv" : "gemm");
        for (size_t i = 0; i < count; ++i) EXPECT_TRUE(outs[i].equal()) << symbol << ", " << i;
      }
    }
  }
}

TEST_P(Joined, OpsThatNeedOneAnotherAreNot) {
  const Matrix a = Matrix::random(1, 32, 12), b = Matrix::random(1, 32, 13), w = Matrix::random(1, 32, 14);
  const Written out(1, 32), norm(1, 32);
  KernelArgs add, of;
  add.in = {a.view(), b.view()}, add.out = out.view(false);
  of.in = {out.view(true), w.view()}, of.out = norm.view(false);  // not what the sum wrote
  EXPECT_EQ(gpu::next_launch(std::vector{task("add", add), task("rms_norm", of)}, device_->chip()).count, 1U);
  const PackedWeight weight = random_weight(TensorType::q8_0, 32, 32, 15);
  KernelArgs product;
  product.in[0] = a.view(), product.weight = &weight, product.out = out.view(false);
  const std::vector products{task("gemv_q8_0", product), task("gemv_q8_0", product, true)};
  EXPECT_EQ(gpu::next_launch(products, device_->chip()).count, 1U);
}

INSTANTIATE_TEST_SUITE_P(Cards, Joined, testing::ValuesIn(emulator::cards()),
                         [](const auto& card) { return std::string(card.param.name); });

}  // namespace
}  // namespace greta::test

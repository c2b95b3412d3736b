// Every kernel of the best ISA on shapes of SmolLM2 and Qwen2.5-Coder-1.5B, one thread, with the core's
// ceilings of the same run. GOP/s counts a multiply and an add as two; GB/s counts the bytes of the weight
// (GEMV) or of the cache (attention).

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "kernels/ceilings.h"
#include "kernels/kernel_cases.h"

namespace greta::bench {
namespace {

using benchmark::Counter;
using benchmark::State;
using test::Matrix;

void rate(State& state, const char* unit, double per_iteration) {
  state.counters[unit] = Counter(per_iteration * 1e-9, Counter::kIsIterationInvariantRate);
}

void ceiling(State& state, double (*operations)(int64_t)) {
  double done = 0;
  for (auto _ : state) benchmark::DoNotOptimize(done = operations(100000));
  rate(state, "GOP/s", done);
}

void ceiling_read(State& state) {
  AlignedBytes bytes(state.range(0));
  std::memset(bytes.data(), 1, static_cast<size_t>(bytes.size()));
  for (auto _ : state) benchmark::DoNotOptimize(read_all(bytes.data(), bytes.size()));
  rate(state, "GB/s", static_cast<double>(bytes.size()));
}

struct Shape2 {
  int64_t n, k;
};

void matmul(State& state, const KernelInfo* kernel, Shape2 shape, int64_t rows) {
  const PackedWeight weight = test::random_weight(*kernel->weight_type, shape.n, shape.k, 1);
  const Matrix x = test::activations(*kernel, Matrix::random(rows, shape.k, 2));
  const Matrix out(rows, shape.n);
  for (auto _ : state) test::matmul(*kernel, weight, x.view(), out.view());
  rate(state, "GOP/s", 2.0 * static_cast<double>(shape.n * shape.k * rows));
  if (rows == 1) rate(state, "GB/s", static_cast<double>(weight.bytes.size()));
}

void attention(State& state, const KernelInfo* kernel, int64_t position, int64_t rows) {
  const int64_t n_head = 9, n_kv = 3, head_dim = 64, n_pos = position + rows,
                capacity = (n_pos + 15) / 16 * 16;
  Matrix keys = Matrix::random(n_kv * capacity, head_dim, 3),
         values = Matrix::random(n_kv * capacity, head_dim, 4);
  const Matrix q = Matrix::random(rows, n_head * head_dim, 5), out(rows, n_head * head_dim);
  const Matrix scratch(1, attention_scratch_floats(n_pos));
  KernelArgs args;
  args.in[0] = q.view();
  args.out = out.view();
  args.scratch = scratch.view();
  args.cache = {keys.view().data, values.view().data, Format::f32, capacity, n_kv, head_dim};
  args.position = position;
  args.params.n_head = n_head;
  args.params.head_dim = head_dim;
  args.params.scale = 0.125f;
  for (auto _ : state) test::run(*kernel, args);
  const double pairs =
      static_cast<double>(rows) * static_cast<double>(position) + static_cast<double>(rows * (rows + 1)) / 2;
  rate(state, "GOP/s", pairs * 4.0 * static_cast<double>(n_head * head_dim));
  if (rows == 1) rate(state, "GB/s", 2.0 * static_cast<double>(n_pos * n_kv * head_dim * 4));
}

/// An op over rows of `cols` floats; GB/s of its first input and its output as f32.
void rowwise(State& state, const KernelInfo* kernel, int64_t rows, int64_t cols) {
  const Matrix a = Matrix::random(rows, cols, 6), b = Matrix::random(rows, cols, 7), out(rows, cols);
  KernelArgs args;
  args.in = {a.view(), b.view()};
  args.out = out.view();
  args.params.eps = 1e-5f;
  args.params.head_dim = args.params.rope_dims = 64;
  for (auto _ : state) test::run(*kernel, args);
  rate(state, "GB/s", 8.0 * static_cast<double>(rows * cols));
}

void add_matmuls(Isa isa) {
  for (TensorType type : test::kTypes) {
    for (Route route : {Route::matrix, Route::vector}) {
      const KernelInfo* gemm = test::matmul_kernel(isa, type, route, Shape::gemm);
      const KernelInfo* gemv = test::matmul_kernel(isa, type, route, Shape::gemv);
      if (!gemm) continue;
      std::vector<Shape2> shapes{{1536, 1536}, {8960, 1536}};
      if (info(type).block < 256) shapes.insert(shapes.end(), {{576, 576}, {1536, 576}, {576, 1536}});
      for (const Shape2 s : shapes) {
        const std::string size = fmt::format("{}x{}", s.n, s.k);
        benchmark::RegisterBenchmark(fmt::format("{}/{}/S200", gemm->name, size).c_str(), matmul, gemm, s,
                                     200);
        benchmark::RegisterBenchmark(fmt::format("{}/{}", gemv->name, size).c_str(), matmul, gemv, s, 1);
      }
      if (type == TensorType::q8_0) {
        benchmark::RegisterBenchmark((gemv->name + "/49152x576").c_str(), matmul, gemv, Shape2{49152, 576},
                                     1);
      }
    }
  }
}

void add_others(Isa isa) {
  const KernelInfo* fused = test::row_kernel(OpKind::attention, isa);
  for (int64_t rows : {200, 1024}) {
    const std::string label = fused->name + "/prefill" + std::to_string(rows);
    benchmark::RegisterBenchmark(label.c_str(), attention, fused, 0, rows);
  }
  for (int64_t depth : {200, 4096}) {
    const std::string label = fused->name + "/decode_at" + std::to_string(depth);
    benchmark::RegisterBenchmark(label.c_str(), attention, fused, depth, 1);
  }
  for (OpKind op : {OpKind::rms_norm, OpKind::rope, OpKind::add, OpKind::silu_mul}) {
    const KernelInfo* kernel = test::row_kernel(op, isa);
    benchmark::RegisterBenchmark((kernel->name + "/200x576").c_str(), rowwise, kernel, 200, 576);
  }
  for (Format format : {Format::q8_block32, Format::bf16}) {
    const KernelInfo* kernel = test::row_kernel(OpKind::quantize, isa, format);
    benchmark::RegisterBenchmark((kernel->name + "/200x576").c_str(), rowwise, kernel, 200, 576);
  }
}

const int kRegistered = [] {
  if (has_avx512_units()) {
    benchmark::RegisterBenchmark("ceiling/f32_fma", ceiling, f32_fma_operations);
    benchmark::RegisterBenchmark("ceiling/vpdpbusd", ceiling, int8_dot_operations);
    benchmark::RegisterBenchmark("ceiling/vdpbf16ps", ceiling, bf16_dot_operations);
  }
  benchmark::RegisterBenchmark("ceiling/read_cache", ceiling_read)->Arg(512 << 10);
  benchmark::RegisterBenchmark("ceiling/read_memory", ceiling_read)->Arg(256 << 20);
  add_matmuls(best_isa());
  add_others(best_isa());
  if (best_isa() == Isa::avx512) add_matmuls(Isa::avx2);
  return 0;
}();

}  // namespace
}  // namespace greta::bench

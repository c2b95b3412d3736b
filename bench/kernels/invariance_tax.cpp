// What one fixed order of sums costs: the contract's int8 kernels by turns with the same kernels whose order
// is free (free_order.h), one thread.
// A tax of 2 % means that the best free one takes 2 % less time; below 0, it takes more.

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/timing.h"
#include "kernels/free_order.h"
#include "kernels/kernel_cases.h"

namespace greta::bench {
namespace {

constexpr int kRounds = 15;

struct Case {
  const char* what;
  TensorType type;
  int64_t n, k, rows;
};

// Shapes of SmolLM2 (q4_1, q8_0) and Qwen2.5-1.5B (q4_k, q6_k); N is a multiple of 32, rows of 48.
constexpr Case kCases[] = {
    {"prefill gate", TensorType::q4_1, 1536, 576, 192},
    {"prefill down", TensorType::q4_1, 576, 1536, 192},
    {"prefill gate", TensorType::q4_k, 8960, 1536, 192},
    {"prefill down", TensorType::q6_k, 1536, 8960, 192},
    {"decode gate, cached", TensorType::q4_1, 1536, 576, 1},
    {"decode gate", TensorType::q4_k, 98304, 1536, 1},
    {"decode down", TensorType::q6_k, 98304, 1536, 1},
    {"decode logits", TensorType::q8_0, 98304, 576, 1},
};

double seconds(KernelFn run, const KernelArgs& args, int repeats) {
  const Stopwatch watch;
  for (int i = 0; i < repeats; ++i) run(args, Part{});
  return watch.seconds() / repeats;
}

void measure(const Case& one) {
  const Shape shape = one.rows == 1 ? Shape::gemv : Shape::gemm;
  std::string why;
  const KernelInfo* kernel = find_kernel(cpu_kernels(),
                                         {.op = OpKind::matmul,
                                          .isa = Isa::avx512,
                                          .weight_type = one.type,
                                          .route = Route::matrix,
                                          .shape = shape},
                                         &why);
  const PackedWeight weight = test::random_weight(one.type, one.n, one.k, 1);
  const test::Matrix x = test::activations(*kernel, test::Matrix::random(one.rows, one.k, 2));
  const test::Matrix out(one.rows, one.n);
  KernelArgs args;
  args.in[0] = x.view();
  args.out = out.view();
  args.weight = &weight;

  struct Contestant {
    std::string name;
    KernelFn run;
    std::vector<double> times = {};
  };
  std::vector<Contestant> contestants{{kernel->name, kernel->run}};
  for (const FreeOrder* free = kFreeOrders; free->run != nullptr; ++free) {
    if (free->type == one.type && free->shape == shape) contestants.push_back({free->how, free->run});
  }
  const int repeats = std::max(1, static_cast<int>(0.01 / seconds(kernel->run, args, 3)));
  for (int round = 0; round < kRounds; ++round) {
    for (Contestant& contestant : contestants)
      contestant.times.push_back(seconds(contestant.run, args, repeats));
  }
  fmt::print("{}, {} {} x {}, {} rows\n", one.what, name(one.type), one.n, one.k, one.rows);
  const double ours = median(contestants.front().times);
  double best = 1e9;
  for (const Contestant& contestant : contestants) {
    const double time = median(contestant.times);
    fmt::print("  {:<34} {:>10.1f} us {:>7.3f}\n", contestant.name, time * 1e6, time / ours);
    if (&contestant != &contestants.front()) best = std::min(best, time);
  }
  fmt::print("  tax {:+.1f} %\n", 100 * (ours / best - 1));
}

}  // namespace
}  // namespace greta::bench

int main() {
  if (greta::best_isa() != greta::Isa::avx512) {
    fmt::print(stderr, "invariance_tax: needs AVX-512 with VNNI\n");
    return 2;
  }
  fmt::print("one thread, median of {} rounds by turns; time relative to the contract's kernel\n\n",
             greta::bench::kRounds);
  for (const auto& one : greta::bench::kCases) greta::bench::measure(one);
}

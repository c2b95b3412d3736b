// What is wrong with a driver or its card is one clear line and exit code 3. The driver is a fake one
// (fake_cuda.c); with a build that has no code for CUDA there is nothing to ask it.

#include <gmock/gmock.h>

#include <algorithm>

#include "e2e/program.h"
#include "e2e/strangers.h"
#include "engine/device.h"

namespace greta {
namespace {

using test::run_greta;
using test::Scratch;
using testing::HasSubstr;

class CudaDriver : public testing::Test {
 protected:
  void SetUp() override {
    if (missing_for_cuda().starts_with("CUDA code")) GTEST_SKIP() << missing_for_cuda();
    test::write_file(model_, test::speaking_llama().build());
  }

  /// Of `greta trace --device cuda` with a driver from `folder`, one that fails as `mode` says.
  test::Outcome trace(const std::string& mode, const std::string& folder = GRETA_FAKE_CUDA) {
    return run_greta({"trace", "-m", model_, "--device", "cuda", "-p", "a b", "--out", out_},
                     {"LD_LIBRARY_PATH=" + folder, "FAKE_CUDA=" + mode});
  }

  void expect_line(const test::Outcome& outcome, const std::string& part) {
    EXPECT_EQ(outcome.exit_code, 3) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(part));
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  }

  Scratch scratch_;
  const std::string model_ = scratch_ / "model.gguf", out_ = scratch_ / "out";
};

TEST_F(CudaDriver, ThatIsTooOldLacksACallByName) {
  expect_line(trace("", GRETA_FAKE_OLD_CUDA),
              "the driver (libcuda.so.1) is too old: it has no cuLaunchKernelEx");
}

TEST_F(CudaDriver, WithoutACardSaysSo) { expect_line(trace("no_card"), "this machine has 0 such card(s)"); }

TEST_F(CudaDriver, WithAnOldCardNamesIt) {
  expect_line(trace("old_card"), "Fake card has compute capability 7.0; the kernels need 8.0");
}

TEST_F(CudaDriver, WithoutMemoryLeftSaysHowMuchIsWantedAndThere) {
  expect_line(trace("no_memory"), "MiB more; Fake card has 5.0 of 80.0 MiB left");
}

TEST_F(CudaDriver, WhoseCardIsLostLeavesAReadableBundle) {
  const test::Outcome outcome = trace("lost");
  EXPECT_EQ(outcome.exit_code, 3) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("unspecified launch failure"));
  const test::Outcome read = run_greta({"diagnose", out_, "-m", model_, "--out", scratch_ / "judged"});
  EXPECT_THAT(read.exit_code, testing::AnyOf(1, 2, 4))
      << read.err;  // it is not whole, or what it has is wrong
  EXPECT_THAT(read.err + read.out, HasSubstr("did not finish"));
}

}  // namespace
}  // namespace greta

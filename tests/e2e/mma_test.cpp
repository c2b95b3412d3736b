// greta mma: bad input in one line. Its bits are held against recorded answers in tests/numerics.

#include <gmock/gmock.h>

#include <cstring>

#include "e2e/program.h"

namespace greta {
namespace {

using test::run_greta;
using test::Scratch;
using testing::HasSubstr;

std::string safetensors(const std::string& header, size_t bytes) {
  const uint64_t size = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &size, 8);
  return file + header + std::string(bytes, '\0');
}

void expect_refused(const std::string& instruction, const std::string& in, const std::string& part) {
  const Scratch scratch;
  const test::Outcome outcome =
      run_greta({"mma", instruction, "--in", in, "--out", scratch / "d.safetensors"});
  EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr(part));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_FALSE(test::fs::exists(scratch / "d.safetensors"));
}

TEST(Mma, BadInputIsOneLine) {
  const Scratch scratch;
  const std::string in = scratch / "in.safetensors";
  test::write_file(in, safetensors(R"({"X":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1));
  expect_refused("cdna3.mfma.f32_16x16x16_bf17", in, "f32_16x16x16_bf16");  // names what is near
  expect_refused("cdna3.mfma.f32_16x16x16_bf16", in, "no tensors A, Bt and C");
  expect_refused("cdna3.mfma.f32_16x16x16_bf16", scratch / "missing", "missing");
  test::write_file(in, safetensors(R"({"A":{"dtype":"F32","shape":[16,16],"data_offsets":[0,1024]}})", 1024));
  expect_refused("cdna3.mfma.f32_16x16x16_bf16", in, "\"A\" is F32");
  test::write_file(in, safetensors(R"({"A":{"dtype":"I16","shape":[16,8],"data_offsets":[0,256]}})", 256));
  expect_refused("cdna3.mfma.f32_16x16x16_bf16", in, "has shape [16, 8]");
}

}  // namespace
}  // namespace greta

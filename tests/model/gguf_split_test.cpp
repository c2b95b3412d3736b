// Split models: which parts are joined, and what is said of those that can't be.

#include "model/gguf_split.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "gguf_builder.h"
#include "model/gguf.h"
#include "model/model.h"

namespace greta {
namespace {

using test::GgufBuilder;
using testing::HasSubstr;
namespace fs = std::filesystem;

class SplitGguf : public testing::Test {
 protected:
  SplitGguf() : folder_(fs::path(testing::TempDir()) / fmt::format("greta_split_{}", ::getpid())) {
    fs::create_directories(folder_);
  }
  ~SplitGguf() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const GgufBuilder& file) const {
    const std::string path = folder_ / name;
    const auto bytes = file.build();
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  /// Part `no` (from 0) of `count`, with a tensor of its own.
  static GgufBuilder part(uint16_t no, uint16_t count, int32_t tensors) {
    GgufBuilder file;
    file.set<uint16_t>("split.no", no).set<uint16_t>("split.count", count);
    file.set<int32_t>("split.tensors.count", tensors);
    if (no == 0) file.set_string("general.architecture", "nobodys").set<uint32_t>("x", 7);
    file.add_f32("t" + std::to_string(no), {4, uint64_t{1} + no});
    return file;
  }

  /// Three parts of one set; the paths.
  std::vector<std::string> write_three() const {
    std::vector<std::string> paths;
    for (uint16_t i = 0; i < 3; ++i)
      paths.push_back(write("m-0000" + std::to_string(i + 1) + "-of-00003.gguf", part(i, 3, 3)));
    return paths;
  }

  template <class Act>
  static std::string error_of(Act act) {
    try {
      act();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::input);
      return error.what();
    }
    return "no error";
  }

  fs::path folder_;
};

TEST_F(SplitGguf, AnyPartOpensTheWhole) {
  const auto paths = write_three();
  for (const std::string& path : paths) {
    const ModelFile whole = open_gguf(path);
    EXPECT_EQ(whole.path(), path);
    EXPECT_EQ(whole.format(), "GGUF v3 in 3 files");
    EXPECT_EQ(whole.parts().size(), 3U);
    EXPECT_EQ(part_of_split(whole), "");
    EXPECT_EQ(whole.find_string("general.architecture"), "nobodys");
    EXPECT_EQ(whole.find_uint("x", 9), 7U);
    EXPECT_EQ(whole.find("split.count"), nullptr);
    ASSERT_EQ(whole.tensors().size(), 3U);
    for (uint64_t i = 0; i < 3; ++i) {
      const Tensor* tensor = whole.find_tensor("t" + std::to_string(i));
      ASSERT_NE(tensor, nullptr);
      EXPECT_EQ(tensor->data.size(), 16 * (i + 1));
      float second = 0;
      std::memcpy(&second, tensor->data.data() + 4, sizeof second);
      EXPECT_EQ(second, 1.0F);
    }
  }
}

TEST_F(SplitGguf, APartAloneSaysWhichIsMissing) {
  const auto paths = write_three();
  fs::remove(paths[1]);
  const ModelFile alone = open_gguf(paths[2]);  // its header can be listed
  EXPECT_EQ(alone.tensors().size(), 1U);
  EXPECT_EQ(part_of_split(alone), "part 3 of 3 of a split model");
  EXPECT_EQ(error_of([&] { refuse_part(alone); }),
            paths[2] + ": part 3 of 3 of a split model; " + paths[1] + " is missing: put it beside");
  EXPECT_THAT(error_of([&] { bind_model(open_gguf(paths[0])); }), HasSubstr(paths[1] + " is missing"));
}

TEST_F(SplitGguf, AnotherNameIsNotGuessedAt) {
  const std::string path = write("renamed.gguf", part(0, 3, 3));
  EXPECT_THAT(error_of([&] { refuse_part(open_gguf(path)); }),
              HasSubstr("part 1 of 3 of a split model; merge them first (llama-gguf-split --merge FIRST_PART "
                        "WHOLE), or name them as that does: MODEL-00001-of-00003.gguf"));
}

TEST_F(SplitGguf, APartThatIsAnotherOneIsRefused) {
  const auto paths = write_three();
  write("m-00002-of-00003.gguf", part(2, 3, 3));
  EXPECT_EQ(
      error_of([&] { open_gguf(paths[0]); }),
      paths[1] + ": is not part 2 of 3, as its name says, but part 3 of 3 of a split model; fetch it again");
  write("m-00002-of-00003.gguf", part(1, 4, 3));
  EXPECT_THAT(error_of([&] { open_gguf(paths[0]); }), HasSubstr("but part 2 of 4 of a split model"));
  write("m-00002-of-00003.gguf", GgufBuilder().add_f32("t1", {4}));
  EXPECT_THAT(error_of([&] { open_gguf(paths[0]); }), HasSubstr("but a whole file"));
  write("m-00002-of-00003.gguf", part(1, 3, 3).add_f32("t0", {4}));
  EXPECT_THAT(error_of([&] { open_gguf(paths[0]); }),
              HasSubstr("split.tensors.count is 3, but the 3 parts have 4"));
  write("m-00001-of-00003.gguf", part(0, 3, 4));
  EXPECT_THAT(error_of([&] { open_gguf(paths[0]); }), HasSubstr("'t0' comes twice"));
}

TEST_F(SplitGguf, LyingKeysAreNoSet) {
  for (const auto& [no, count] :
       std::vector<std::pair<uint64_t, uint64_t>>{{3, 3}, {0, uint64_t{1} << 40}, {0, 0}}) {
    GgufBuilder file = part(0, 3, 3);
    file.set<uint64_t>("split.no", no).set<uint64_t>("split.count", count);
    EXPECT_EQ(split_paths(open_gguf(write("m-00001-of-00003.gguf", file))).size(), 0U);
  }
}

}  // namespace
}  // namespace greta

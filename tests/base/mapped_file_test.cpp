// Memory maps: contents, refusals, moves, and a file that shrinks underneath.

#include "base/mapped_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/error.h"

namespace greta {
namespace {

using testing::HasSubstr;

/// A folder of this process for the time of a test.
class MappedFileTest : public testing::Test {
 protected:
  MappedFileTest()
      : folder_(std::filesystem::path(testing::TempDir()) / fmt::format("greta_mapped_file_{}", ::getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~MappedFileTest() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path(name), std::ios::binary) << text;
    return path(name);
  }
  std::string error_of(const std::string& name) const {
    try {
      MappedFile file(path(name));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::input);
      EXPECT_THAT(error.what(), HasSubstr(path(name)));
      return error.what();
    }
    return "";
  }

 private:
  std::filesystem::path folder_;
};

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST_F(MappedFileTest, HasTheBytesOfTheFile) {
  const std::string text("a\0b\n", 4);
  EXPECT_EQ(text_of(MappedFile(write("f", text))), text);
}

TEST_F(MappedFileTest, RefusesWhatIsNoReadableFile) {
  std::filesystem::create_directory(path("folder"));
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  write("empty", "");
  EXPECT_THAT(error_of("missing"), HasSubstr("No such file"));
  EXPECT_THAT(error_of("folder"), HasSubstr("is a directory"));
  EXPECT_THAT(error_of("fifo"), HasSubstr("is not a regular file"));
  EXPECT_THAT(error_of("empty"), HasSubstr("is empty"));
}

TEST_F(MappedFileTest, MovesKeepTheMap) {
  MappedFile first(write("a", "first"));
  const std::byte* data = first.bytes().data();
  MappedFile second(std::move(first));
  EXPECT_EQ(second.bytes().data(), data);
  MappedFile third(write("b", "third"));
  third = std::move(second);
  EXPECT_EQ(text_of(third), "first");
}

using MappedFileDeathTest = MappedFileTest;

TEST_F(MappedFileDeathTest, AShrunkFileEndsWithOneClearLine) {
  const std::string name = write("shrinks", std::string(1 << 16, 'x'));
  const auto touch_shrunk_file = [&] {
    install_sigbus_message();
    const MappedFile file(name);
    std::filesystem::resize_file(name, 0);
    volatile std::byte last = file.bytes().back();
    static_cast<void>(last);
  };
  EXPECT_EXIT(touch_shrunk_file(), testing::ExitedWithCode(2),
              "^greta: a mapped file shrank while it was read \\(truncated or replaced\\?\\); run again\n$");
}

}  // namespace
}  // namespace greta

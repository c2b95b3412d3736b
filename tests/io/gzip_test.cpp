// What GzipWriter wrote, read by libarchive (read_archive) and by its own definition: equal bytes.

#include "io/gzip.h"

#include <numeric>

#include "io/archive.h"
#include "io/testing.h"

namespace greta {
namespace {

using testing::message_of;
using testing::read_file;
using testing::TempDirectory;
using testing::write_file;

std::string mixed_bytes(size_t size) {
  std::string bytes(size, '\0');
  uint64_t state = 1;
  for (size_t i = 0; i < size; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    if (i / 100000 % 2 == 0) bytes[i] = static_cast<char>(state >> 56);  // else zeros
  }
  return bytes;
}

void write_gzip(const std::string& path, const std::string& bytes, size_t at_once) {
  OutputFile file(path);
  GzipWriter gzip(file);
  for (size_t i = 0; i < bytes.size(); i += at_once)
    gzip.write(std::as_bytes(std::span(bytes).subspan(i, std::min(at_once, bytes.size() - i))));
  gzip.finish();
  file.close();
}

TEST(Gzip, EqualDataGiveEqualBytesHoweverTheyAreWritten) {
  TempDirectory temp;
  const std::string bytes = mixed_bytes(size_t{5} << 20);
  write_gzip(temp / "whole.gz", bytes, bytes.size());
  for (const size_t at_once : {size_t{1} << 20, size_t{10240}, size_t{777777}}) {
    write_gzip(temp / "parts.gz", bytes, at_once);
    EXPECT_EQ(read_file(temp / "whole.gz"), read_file(temp / "parts.gz")) << at_once;
  }
}

TEST(Gzip, NothingIsAGzipOfNothing) {
  TempDirectory temp;
  write_gzip(temp / "empty.gz", "", 1);
  EXPECT_EQ(read_file(temp / "empty.gz").substr(0, 2), "\x1f\x8b");
}

TEST(Archive, OfManyMembersReadsBack) {
  TempDirectory temp;
  // About whole MiB, where one gzip member ends and the next begins; several batches on any machine's cores.
  for (const size_t size : {size_t{1} << 20, (size_t{1} << 20) + 1, size_t{3} << 20, size_t{70} << 20}) {
    const std::string bytes = mixed_bytes(size);
    write_file(temp / "a", bytes);
    write_archive(temp / "a.tgz", std::vector<ArchiveMember>{{"a", temp / "a"}, {"b", temp / "a"}});
    const auto files = read_archive(temp / "a.tgz", [](const std::string& name) { return name == "b"; });
    ASSERT_EQ(files.size(), 1u);
    const std::vector<std::byte>& read = files.at("b");
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(read.data()), read.size()), bytes);
  }
}

TEST(Archive, CutBetweenTwoMembersIsAnError) {
  TempDirectory temp;
  write_file(temp / "a", mixed_bytes(size_t{3} << 20));
  write_archive(temp / "a.tgz", std::vector<ArchiveMember>{{"a", temp / "a"}});
  const std::string text = read_file(temp / "a.tgz");
  const std::string header = text.substr(0, 10);  // every member begins with the same ten bytes
  int cuts = 0;
  for (size_t at = text.find(header, 1); at != std::string::npos; at = text.find(header, at + 1)) {
    write_file(temp / "cut.tgz", text.substr(0, at));
    message_of([&] { read_archive(temp / "cut.tgz", [](const std::string&) { return true; }); });
    ++cuts;
  }
  EXPECT_GE(cuts, 3);
}

}  // namespace
}  // namespace greta

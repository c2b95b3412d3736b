#include "io/archive.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <set>

#include "base/error.h"
#include "base/mapped_file.h"
#include "io/gzip.h"
#include "io/output_file.h"

namespace greta {
namespace {

using Reader = std::unique_ptr<archive, decltype(&archive_read_free)>;
using Writer = std::unique_ptr<archive, decltype(&archive_write_free)>;
using Entry = std::unique_ptr<archive_entry, decltype(&archive_entry_free)>;

constexpr size_t kFreeBytes = size_t{64} << 20;
constexpr size_t kMaxRatio = 100;

std::string reason(archive* handle) {
  const char* text = archive_error_string(handle);
  return text == nullptr ? "damaged" : text;
}

/// What may still be read from an archive of this size:
/// a bomb is stopped by what it has become, not by what it says.
class Allowance {
 public:
  Allowance(const std::string& path, size_t compressed)
      : path_(path), left_(std::max(kFreeBytes, compressed * kMaxRatio)) {}
  void take(size_t bytes) {
    if (bytes > left_) {
      fail_input("{}: inflates to more than {} times its size; unpack it yourself and name the directory",
                 path_, kMaxRatio);
    }
    left_ -= bytes;
  }

 private:
  const std::string& path_;
  size_t left_;
};

std::vector<std::byte> read_member(archive* handle, const std::string& path, Allowance& allowance) {
  std::vector<std::byte> bytes;
  std::array<std::byte, 65536> block;
  for (;;) {
    const la_ssize_t got = archive_read_data(handle, block.data(), block.size());
    if (got < 0) fail_input("{}: cannot be unpacked: {}", path, reason(handle));
    if (got == 0) return bytes;
    allowance.take(static_cast<size_t>(got));
    bytes.insert(bytes.end(), block.begin(), block.begin() + got);
  }
}

void check(int result, archive* handle, const std::string& path) {
  if (result < ARCHIVE_WARN) fail_machine("cannot write {}: {}", path, reason(handle));
}

la_ssize_t write_block(archive* handle, void* gzip, const void* data, size_t size) {
  try {
    static_cast<GzipWriter*>(gzip)->write(std::span(static_cast<const std::byte*>(data), size));
  } catch (const Error& error) {  // must not pass through C
    archive_set_error(handle, -1, "%s", error.what());
    return -1;
  }
  return static_cast<la_ssize_t>(size);
}

void add_member(archive* handle, const ArchiveMember& member, const std::string& path) {
  std::error_code unreadable;  // is the map's to report
  const bool empty = std::filesystem::file_size(member.path, unreadable) == 0;
  const MappedFile file = empty ? MappedFile() : MappedFile(member.path);
  const Entry entry(archive_entry_new(), archive_entry_free);
  archive_entry_set_pathname(entry.get(), member.name.c_str());
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  archive_entry_set_perm(entry.get(), 0644);
  archive_entry_set_mtime(entry.get(), 0, 0);
  archive_entry_set_size(entry.get(), static_cast<la_int64_t>(file.bytes().size()));
  check(archive_write_header(handle, entry.get()), handle, path);
  for (auto rest = file.bytes(); !rest.empty();) {
    const auto block = rest.first(std::min<size_t>(rest.size(), size_t{1} << 20));
    const la_ssize_t written = archive_write_data(handle, block.data(), block.size());
    if (written != static_cast<la_ssize_t>(block.size()))
      fail_machine("cannot write {}: {}", path, reason(handle));
    rest = rest.subspan(block.size());
  }
}

}  // namespace

std::map<std::string, std::vector<std::byte>> read_archive(
    const std::string& path, const std::function<bool(const std::string&)>& wanted) {
  const MappedFile file(path);
  const Reader handle(archive_read_new(), archive_read_free);
  archive_read_support_filter_gzip(handle.get());
  archive_read_support_format_tar(handle.get());
  if (archive_read_open_memory(handle.get(), file.bytes().data(), file.bytes().size()) != ARCHIVE_OK) {
    fail_input("{}: neither a directory nor a readable .tgz: {}", path, reason(handle.get()));
  }
  Allowance allowance(path, file.bytes().size());
  std::map<std::string, std::vector<std::byte>> files;
  for (;;) {
    archive_entry* entry = nullptr;
    const int result = archive_read_next_header(handle.get(), &entry);
    if (result == ARCHIVE_EOF) return files;
    if (result < ARCHIVE_WARN) fail_input("{}: not a readable .tgz: {}", path, reason(handle.get()));
    allowance.take(512);  // a tar of a billion empty members is a bomb as well
    const char* spelled = archive_entry_pathname(entry);
    if (spelled == nullptr || archive_entry_filetype(entry) != AE_IFREG) continue;
    std::string name = spelled;
    while (name.starts_with("./")) name.erase(0, 2);
    if (!wanted(name)) continue;
    if (!files.emplace(name, read_member(handle.get(), path, allowance)).second) {
      fail_input("{}: holds {} twice", path, name);
    }
  }
}

void unpack_archive(const std::string& path, const std::string& directory) {
  const Reader handle(archive_read_new(), archive_read_free);
  archive_read_support_format_tar(handle.get());
  if (archive_read_open_filename(handle.get(), path.c_str(), size_t{1} << 20) != ARCHIVE_OK)
    fail_machine("{}: not a readable .tar: {}", path, reason(handle.get()));
  std::set<std::string> seen;
  for (;;) {
    archive_entry* entry = nullptr;
    const int result = archive_read_next_header(handle.get(), &entry);
    if (result == ARCHIVE_EOF) return;
    if (result < ARCHIVE_WARN) fail_machine("{}: not a readable .tar: {}", path, reason(handle.get()));
    const char* spelled = archive_entry_pathname(entry);
    if (spelled == nullptr || archive_entry_filetype(entry) != AE_IFREG) continue;
    const std::string name = std::filesystem::path(spelled).filename().string();
    if (name.empty() || name.starts_with('.')) continue;
    if (!seen.insert(name).second) fail_machine("{}: holds {} twice", path, name);
    replace_file((std::filesystem::path(directory) / name).string(), [&](OutputFile& file) {
      std::array<std::byte, 65536> block;
      for (;;) {
        const la_ssize_t got = archive_read_data(handle.get(), block.data(), block.size());
        if (got < 0) fail_machine("{}: cannot be unpacked: {}", path, reason(handle.get()));
        if (got == 0) return;
        file.write(std::span(block).first(static_cast<size_t>(got)));
      }
    });
  }
}

void write_archive(const std::string& path, std::span<const ArchiveMember> members) {
  replace_file(path, [&](OutputFile& file) {
    const Writer handle(archive_write_new(), archive_write_free);
    GzipWriter gzip(file);
    check(archive_write_set_format_pax_restricted(handle.get()), handle.get(), path);
    check(archive_write_open(handle.get(), &gzip, nullptr, write_block, nullptr), handle.get(), path);
    for (const ArchiveMember& member : members) add_member(handle.get(), member, path);
    check(archive_write_close(handle.get()), handle.get(), path);
    gzip.finish();
  });
}

}  // namespace greta

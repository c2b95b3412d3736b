#include "io/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace greta {
namespace {

[[noreturn]] void fail_write(const std::string& path, int error, ErrorKind kind) {
  throw Error(kind, fmt::format("cannot write {}: {}", path, std::strerror(error)));
}

}  // namespace

ErrorKind kind_of_errno(int error, ErrorKind refused) {
  switch (error) {
    case EACCES:
    case EPERM:
    case EROFS:
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case EEXIST:
    case ELOOP:
    case EINVAL:
    case ENAMETOOLONG: return refused;
    default: return ErrorKind::machine;
  }
}

OutputFile::OutputFile(const std::string& path, ErrorKind refused) : path_(path) {
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0) fail_write(path, errno, kind_of_errno(errno, refused));
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) ::close(fd_);
}

void OutputFile::write(std::span<const std::byte> bytes) {
  const auto total = static_cast<int64_t>(bytes.size());
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written > 0) {
      bytes = bytes.subspan(static_cast<size_t>(written));
      continue;
    }
    if (written < 0 && errno == EINTR) continue;
    const int error = written < 0 ? errno : ENOSPC;
    // Best effort: readers cope with a line without an end.
    [[maybe_unused]] const int ignored = ::ftruncate(fd_, size_);
    fail_write(path_, error, ErrorKind::machine);
  }
  size_ += total;
}

void OutputFile::close() {
  if (fd_ < 0) return;
  const int result = ::close(fd_);
  fd_ = -1;
  if (result != 0 && errno != EINTR) fail_write(path_, errno, ErrorKind::machine);
}

void replace_file(const std::string& path, const std::function<void(OutputFile&)>& write, ErrorKind refused) {
  const std::string temporary = path + ".tmp";
  OutputFile file(temporary, refused);
  try {
    write(file);
    file.close();
    if (std::rename(temporary.c_str(), path.c_str()) != 0) fail_write(path, errno, ErrorKind::machine);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

void replace_file(const std::string& path, std::string_view text, ErrorKind refused) {
  replace_file(
      path, [text](OutputFile& file) { file.write(text); }, refused);
}

bool make_directory(const std::filesystem::path& directory, bool force) {
  std::error_code error;
  if (std::filesystem::exists(std::filesystem::symlink_status(directory, error))) {
    if (!std::filesystem::is_directory(directory, error))
      fail_input("{} exists and is not a directory", directory.string());
    if (!force) fail_input("{} exists; choose another directory or pass --force", directory.string());
    return true;
  }
  std::filesystem::create_directories(directory, error);
  if (error) {
    throw Error(kind_of_errno(error.value(), ErrorKind::input),
                fmt::format("cannot create {}: {}", directory.string(), error.message()));
  }
  return false;
}

}  // namespace greta

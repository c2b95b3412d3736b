#include "base/mapped_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace greta {
namespace {

struct FileDescriptor {
  int value;
  ~FileDescriptor() {
    if (value >= 0) ::close(value);
  }
};

// Only async-signal-safe calls.
extern "C" void report_sigbus(int) {
  static constexpr char kMessage[] =
      "greta: a mapped file shrank while it was read (truncated or replaced?); run again\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kMessage, sizeof(kMessage) - 1);
  ::_exit(static_cast<int>(ErrorKind::input));
}

}  // namespace

MappedFile::MappedFile(const std::string& path) {
  // O_NONBLOCK: opening a FIFO must be refused below, not waited for.
  const FileDescriptor fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (fd.value < 0) fail_input("cannot open {}: {}", path, std::strerror(errno));
  struct stat status {};
  if (::fstat(fd.value, &status) != 0) fail_input("cannot read {}: {}", path, std::strerror(errno));
  if (S_ISDIR(status.st_mode)) fail_input("{} is a directory; expected a file", path);
  if (!S_ISREG(status.st_mode)) fail_input("{} is not a regular file", path);
  if (status.st_size == 0) fail_input("{} is empty", path);
  const size_t size = static_cast<size_t>(status.st_size);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.value, 0);
  if (data == MAP_FAILED) fail_machine("cannot map {} ({} bytes): {}", path, size, std::strerror(errno));
  bytes_ = {static_cast<const std::byte*>(data), size};
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (bytes_.data() != nullptr) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::forget(std::span<const std::byte> part) const noexcept {
  const auto address = [](const std::byte* p) { return reinterpret_cast<uintptr_t>(p); };
  const uintptr_t begin = address(part.data()), end = begin + part.size();
  if (begin < address(bytes_.data()) || end > address(bytes_.data()) + bytes_.size()) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

void install_sigbus_message() {
  struct sigaction action {};
  action.sa_handler = report_sigbus;
  ::sigemptyset(&action.sa_mask);
  if (::sigaction(SIGBUS, &action, nullptr) != 0)
    fail_machine("cannot handle SIGBUS: {}", std::strerror(errno));
}

}  // namespace greta

#include "launch/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/error.h"

namespace greta::launch {
namespace {

constexpr size_t kBlock = size_t{1} << 16;
constexpr size_t kKeptErrors = size_t{1} << 14;
constexpr int kWaitMs = 200;

/// An open file, closed at the end.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  void take(int fd) {
    close();
    fd_ = fd;
  }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

struct Pipe {
  Descriptor read, write;
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) fail_machine("cannot make a pipe: {}", std::strerror(errno));
    read.take(ends[0]);
    write.take(ends[1]);
  }
};

class Child {
 public:
  Child(const std::vector<std::string>& command, int in, int out, int err) {
    std::vector<std::string> words = command;
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    Pipe failure;  // closed by a program that starts
    pid_ = ::fork();
    if (pid_ < 0) fail_machine("cannot run {}: {}", command.front(), std::strerror(errno));
    if (pid_ == 0) become(arguments.data(), {in, out, err}, failure.write.get());
    failure.write.close();
    int error = 0;
    if (::read(failure.read.get(), &error, sizeof error) != sizeof error) return;
    wait();
    fail_input("cannot run {}: {}", command.front(), std::strerror(error));
  }
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(-pid_, SIGKILL);
    wait();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  int wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }

 private:
  /// In the child: only what is allowed between fork and exec.
  [[noreturn]] static void become(char** arguments, const std::array<int, 3>& ends, int failure) {
    ::setpgid(0, 0);
    std::signal(SIGPIPE, SIG_DFL);
    std::signal(SIGINT, SIG_DFL);
    std::signal(SIGTERM, SIG_DFL);
    for (int fd = 0; fd <= 2; ++fd) ::dup2(ends[static_cast<size_t>(fd)], fd);
    ::execvp(arguments[0], arguments);
    const int error = errno;
    [[maybe_unused]] const ssize_t told = ::write(failure, &error, sizeof error);
    ::_exit(127);
  }

  pid_t pid_ = 0;
};

/// What is still to be written to the child.
class Input {
 public:
  explicit Input(const ProcessRequest& request) : text_(request.input) {
    if (request.input_file.empty()) return;
    file_.take(::open(request.input_file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file_.is_open() || ::lseek(file_.get(), request.input_offset, SEEK_SET) < 0)
      fail_input("cannot read {}: {}", request.input_file, std::strerror(errno));
    name_ = request.input_file;
  }

  /// False when there is nothing left, or nobody reads.
  bool write_some(int fd) {
    if (at_ == text_.size() && !refill()) return false;
    const ssize_t written = ::write(fd, text_.data() + at_, text_.size() - at_);
    if (written < 0) return errno == EAGAIN || errno == EINTR;
    at_ += static_cast<size_t>(written);
    return true;
  }

 private:
  bool refill() {
    if (!file_.is_open()) return false;
    text_.resize(kBlock);
    at_ = 0;
    const ssize_t got = ::read(file_.get(), text_.data(), text_.size());
    if (got < 0) fail_machine("cannot read {}: {}", name_, std::strerror(errno));
    text_.resize(static_cast<size_t>(got));
    return got > 0;
  }

  std::string text_, name_;
  size_t at_ = 0;
  Descriptor file_;
};

/// False at its end.
bool read_some(int fd, const std::function<void(std::string_view)>& hear) {
  std::array<char, kBlock> block;
  const ssize_t got = ::read(fd, block.data(), block.size());
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got > 0) hear({block.data(), static_cast<size_t>(got)});
  return got > 0;
}

}  // namespace

ProcessEnd run_process(const ProcessRequest& request) {
  std::signal(SIGPIPE, SIG_IGN);  // a child that reads no more is told by write()
  Input input(request);
  Pipe in, out, err;
  Child child(request.command, in.read.get(), out.write.get(), err.write.get());
  in.read.close();
  out.write.close();
  err.write.close();
  ::fcntl(in.write.get(), F_SETFL, O_NONBLOCK);
  ProcessEnd end;
  const auto keep = [&](std::string_view text) {
    end.errors += text;
    if (end.errors.size() > kKeptErrors) end.errors.erase(0, end.errors.size() - kKeptErrors);
  };
  const auto hear = [&](std::string_view text) {
    if (request.on_output) request.on_output(text);
  };
  while (out.read.is_open() || err.read.is_open()) {
    pollfd ends[] = {{in.write.get(), POLLOUT, 0}, {out.read.get(), POLLIN, 0}, {err.read.get(), POLLIN, 0}};
    ::poll(ends, 3, kWaitMs);  // a closed one, -1, is left out
    if (ends[0].revents != 0 && !input.write_some(in.write.get())) in.write.close();
    if (ends[1].revents != 0 && !read_some(out.read.get(), hear)) out.read.close();
    if (ends[2].revents != 0 && !read_some(err.read.get(), keep)) err.read.close();
    if (request.on_wait) request.on_wait();
  }
  in.write.close();
  end.exit_code = child.wait();
  return end;
}

}  // namespace greta::launch

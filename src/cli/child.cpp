#include "cli/child.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

namespace greta::cli {
namespace {

volatile std::sig_atomic_t child = 0;

void pass_on(int signal) {
  if (signal == SIGTERM && child > 0) ::kill(static_cast<pid_t>(child), signal);
}

/// While a child runs: Ctrl-C reaches it by the terminal, and must not end us before it.
class Signals {
 public:
  Signals() {
    struct sigaction action = {};
    action.sa_handler = pass_on;  // no SIG_IGN: the child would inherit it
    for (int i = 0; i < kCount; ++i) ::sigaction(kSignals[i], &action, &before_[i]);
  }
  ~Signals() {
    for (int i = 0; i < kCount; ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

 private:
  static constexpr int kCount = 3;
  static constexpr int kSignals[kCount] = {SIGINT, SIGQUIT, SIGTERM};
  struct sigaction before_[kCount];
};

std::vector<std::string> environment_of(const ChildRequest& request) {
  std::vector<std::pair<std::string, std::string>> set = request.environment;
  if (!request.preload.empty()) {
    const char* others = std::getenv("LD_PRELOAD");
    const bool more = others != nullptr && *others != '\0';
    set.emplace_back("LD_PRELOAD", more ? request.preload + ":" + others : request.preload);
  }
  std::vector<std::string> lines;
  for (char** line = environ; *line != nullptr; ++line) {
    const std::string text = *line, name = text.substr(0, text.find('='));
    bool replaced = false;
    for (const auto& setting : set) replaced = replaced || setting.first == name;
    if (!replaced) lines.push_back(text);
  }
  for (const auto& [name, value] : set) lines.push_back(name + "=" + value);
  return lines;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (std::string& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

}  // namespace

ChildEnd run_child(const ChildRequest& request) {
  std::vector<std::string> words = request.command, lines = environment_of(request);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  for (int fd = 0; request.silent && fd <= 2; ++fd)
    posix_spawn_file_actions_addopen(&files, fd, "/dev/null", fd == 0 ? O_RDONLY : O_WRONLY, 0);
  const Signals signals;
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, words.front().c_str(), &files, nullptr, pointers(words).data(),
                                 pointers(lines).data());
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) throw CannotRun{error == ENOENT ? 127 : 126, std::strerror(error)};
  child = pid;
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  child = 0;
  if (WIFSIGNALED(status)) return {128 + WTERMSIG(status), true};
  return {WEXITSTATUS(status), false};
}

}  // namespace greta::cli

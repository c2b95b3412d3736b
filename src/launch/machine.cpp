#include "launch/machine.h"

#include <charconv>
#include <utility>

#include "launch/process.h"

namespace greta::launch {
namespace {

constexpr int kSshFailed = 255;  // the exit code of ssh itself

// What a login shell prints before the script, and whether the script came to its end.
constexpr std::string_view kBegin = "greta-launch-begins\n";
constexpr std::string_view kEnd = "\ngreta-launch-ends ";

/// The whole is one compound command: a script that arrives in part does nothing.
std::string framed(const std::string& script) {
  return fmt::format(
      "(\nprintf 'greta-launch-begins\\n'\n(\n{}\n)\nprintf '\\ngreta-launch-ends %d\\n' $?\n) "
      "</dev/null\n",
      script);
}

/// The script's own output out of all that comes: without what is before its begin and its end.
class Frame {
 public:
  explicit Frame(std::function<void(std::string_view)> hear) : hear_(std::move(hear)) {}

  void add(std::string_view text) {
    kept_ += text;
    if (!begun_) {
      const size_t at = kept_.find(kBegin);
      if (at == std::string::npos) return;
      kept_.erase(0, at + kBegin.size());
      begun_ = true;
    }
    constexpr size_t kTail = kEnd.size() + 5;  // an exit code and a line break
    if (kept_.size() <= kTail) return;
    hear_(std::string_view(kept_).substr(0, kept_.size() - kTail));
    kept_.erase(0, kept_.size() - kTail);
  }

  /// The script's exit code; -1 when it did not come to its end.
  int end() {
    const size_t at = begun_ ? kept_.rfind(kEnd) : std::string::npos;
    if (begun_) hear_(std::string_view(kept_).substr(0, std::min(at, kept_.size())));
    int code = -1;  // also where the connection was cut before the number
    if (at != std::string::npos) std::from_chars(&kept_[at + kEnd.size()], kept_.data() + kept_.size(), code);
    return code;
  }

 private:
  std::function<void(std::string_view)> hear_;
  std::string kept_;
  bool begun_ = false;
};

struct Complaint {
  std::string_view ssh_says;
  bool may_pass;  // another try may find it gone
  ErrorKind kind;
  const char* means;  // {0}: the host, {1}: ssh's own line
};

// The first that fits counts.
constexpr ErrorKind kInput = ErrorKind::input, kMachine = ErrorKind::machine;
constexpr Complaint kComplaints[] = {
    {"Could not resolve hostname", false, kInput,
     "{0}: there is no host of this name; check it, or its entry in ~/.ssh/config"},
    {"HOST IDENTIFICATION HAS CHANGED", false, kInput,
     "{0}: its host key is another one than before, so nothing was sent; if that is right: ssh-keygen -R "
     "{0}"},
    {"Host key verification failed", false, kInput,
     "{0}: its host key is not known here; connect once with ssh {0} and check it"},
    {"Permission denied", false, kInput,
     "{0}: the server takes none of our keys ({1}); ssh {0} true must work without a password"},
    {"Too many authentication failures", false, kInput,
     "{0}: the server takes none of our keys ({1}); ssh {0} true must work without a password"},
    {"Bad configuration option", false, kInput, "{0}: ssh's configuration: {1}"},
    {"Can't open user config file", false, kInput, "{0}: ssh's configuration: {1}"},
    {"Connection refused", true, kMachine, "{0}: no ssh server answers there: {1}"},
    {"timed out", true, kMachine, "{0}: does not answer: {1}"},
    {"No route to host", true, kMachine, "{0}: cannot be reached: {1}"},
    {"unreachable", true, kMachine, "{0}: cannot be reached: {1}"},
    {"not responding", true, kMachine, "{0}: the connection was lost: {1}"},
    {"onnection", true, kMachine, "{0}: the connection was lost: {1}"},  // closed by, reset by, lost
    {"Broken pipe", true, kMachine, "{0}: the connection was lost: {1}"},
};

}  // namespace

std::string sh_word(std::string_view text) {
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return word + "'";
}

std::string last_line(std::string_view text) {
  constexpr std::string_view kBlank = " \r\n";
  const size_t last = text.find_last_not_of(kBlank);
  if (last == std::string_view::npos) return "";
  text = text.substr(0, last + 1);
  const size_t begin = text.find_last_of("\r\n");
  return std::string(begin == std::string_view::npos ? text : text.substr(begin + 1));
}

void fail_as_ssh(const std::string& host, const std::string& errors) {
  for (const Complaint& complaint : kComplaints) {
    if (errors.find(complaint.ssh_says) == std::string::npos) continue;
    const std::string message = fmt::format(fmt::runtime(complaint.means), host, last_line(errors));
    if (complaint.may_pass) throw Lost(message);
    throw Error(complaint.kind, message);
  }
  throw Lost(
      fmt::format("{}: the connection was lost{}{}", host, errors.empty() ? "" : ": ", last_line(errors)));
}

Machine::Machine(std::string host, std::string ssh_config)
    : host_(std::move(host)), ssh_config_(std::move(ssh_config)) {
  const bool odd = host_.starts_with('-') || host_.find_first_of(" \t\r\n") != std::string::npos;
  if (odd) fail_input("{}: is no name of a host", host_);
}

std::vector<std::string> Machine::command(const std::string& there) const {
  if (is_here()) return {"sh", "-c", there};
  std::vector<std::string> words = {"ssh", "-T"};
  if (!ssh_config_.empty()) words.insert(words.end(), {"-F", ssh_config_});
  for (const char* option : {"BatchMode=yes", "ConnectTimeout=20", "ServerAliveInterval=10",
                             "ServerAliveCountMax=3", "ClearAllForwardings=yes", "RemoteCommand=none"})
    words.insert(words.end(), {"-o", option});
  words.insert(words.end(), {"--", host_, there});
  return words;
}

Machine::Ran Machine::run(const std::string& script,
                          const std::function<void(std::string_view)>& on_output) const {
  Ran ran;
  std::string noise;
  const auto keep = [&](std::string_view text) { ran.output += text; };
  Frame frame(on_output ? on_output : std::function<void(std::string_view)>(keep));
  const ProcessEnd end = run_process({.command = command("sh"),
                                      .input = framed(script),
                                      .on_output =
                                          [&](std::string_view text) {
                                            if (noise.size() < 400) noise += text;
                                            frame.add(text);
                                          },
                                      .on_wait = on_wait});
  ran.errors = end.errors;
  ran.exit_code = frame.end();
  if (ran.exit_code >= 0) return ran;
  if (!is_here() && end.exit_code == kSshFailed) fail_as_ssh(host_, end.errors);
  if (!is_here() && end.exit_code >= 128) throw Lost(fmt::format("{}: ssh was ended", host_));
  const std::string said = last_line(end.errors.empty() ? noise : end.errors);
  fail_input("{}: runs no scripts of sh{}{}", name(), said.empty() ? "" : ": ", said);
}

void Machine::append(const std::string& file, int64_t offset, const std::string& path) const {
  const ProcessEnd end = run_process(
      {.command = command("cat >> " + path), .input_file = file, .input_offset = offset, .on_wait = on_wait});
  if (end.exit_code == 0) return;
  if (!is_here() && end.exit_code == kSshFailed) fail_as_ssh(host_, end.errors);
  if (!is_here() && end.exit_code >= 128) throw Lost(fmt::format("{}: ssh was ended", host_));
  fail_machine("{}: cannot write {}: {}", name(), path, last_line(end.errors));
}

}  // namespace greta::launch

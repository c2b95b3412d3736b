#include "launch/visit.h"

#include <sys/utsname.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>
#include <utility>

#include "base/error.h"
#include "io/archive.h"
#include "io/json_fields.h"
#include "io/output_file.h"
#include "io/scratch.h"

namespace greta::launch {
namespace {

namespace fs = std::filesystem;

constexpr const char* kProgram = "greta";        // its copy there
constexpr int64_t kReserve = int64_t{64} << 20;  // for what a run leaves at least
constexpr int kLongestPause_s = 30, kHurry_s = 20;

/// Names that mean the same to every shell without quotes.
bool is_plain(const std::string& name) {
  constexpr std::string_view kPlain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._+=@-";
  return !name.empty() && name.front() != '-' && name.find_first_not_of(kPlain) == std::string::npos;
}

/// "; " in the place of line breaks.
std::string one_line(const std::string& text) {
  std::string line;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part);) line += (line.empty() ? "" : "; ") + part;
  return line;
}

int64_t size_here(const std::string& file) {
  std::error_code none;
  const auto size = fs::file_size(file, none);
  return none ? -1 : static_cast<int64_t>(size);
}

int64_t number_or(const std::string& text, int64_t other) {
  std::istringstream in(text);
  int64_t number = 0;
  return in >> number ? number : other;
}

std::string this_machine() {
  utsname names{};
  ::uname(&names);
  return std::string(names.sysname) + " " + names.machine;
}

/// A loader that lacks something, a processor that is another one, a disk that runs nothing.
std::string why_it_does_not_run(const std::string& said) {
  const auto has = [&](const char* text) { return said.find(text) != std::string::npos; };
  if (has("GLIBC_") || has("GLIBCXX_") || has("shared librar"))
    return "; give a static build (--program FILE), or one that is there (--program-there PATH)";
  if (has("ermission denied")) return "; its disk may run no programs: name another directory (--base DIR)";
  if (has("not found")) return "; install it there, or leave --program-there out: then ours is copied";
  return "; build it there and name it (--program-there PATH)";
}

/// Its files, by the names that they have there; those of directories, too.
std::vector<ArchiveMember> packed_luggage(const Errand& errand) {
  std::vector<ArchiveMember> members;
  for (const Luggage& one : errand.luggage) {
    if (!fs::is_directory(one.here)) {
      members.push_back({one.there, one.here});
      continue;
    }
    for (const auto& entry : fs::directory_iterator(one.here)) {
      const std::string name = entry.path().filename().string();
      if (entry.is_regular_file()) members.push_back({one.there + "/" + name, entry.path().string()});
    }
  }
  return members;
}

}  // namespace

/// What the far side says of itself, by keyword.
struct Visit::Surroundings {
  std::map<std::string, std::string> said;
  std::string operator[](const std::string& key) const {
    const auto it = said.find(key);
    return it == said.end() ? "" : it->second;
  }
  /// Of df -Pk: the fourth column, in KiB.
  int64_t free_bytes() const {
    std::istringstream in((*this)["free"]);
    std::string device;
    int64_t all = 0, used = 0, free = -1;
    in >> device >> all >> used >> free;
    return free < 0 ? -1 : free * 1024;
  }
};

Visit::Visit(Machine machine, Manner manner) : machine_(std::move(machine)), manner_(std::move(manner)) {
  machine_.on_wait = manner_.pause;
}

void Visit::hurry() {
  machine_.on_wait = {};
  manner_.patience_s = std::min(manner_.patience_s, kHurry_s);
}

std::string Visit::place() const { return (machine_.is_here() ? "" : machine_.host() + ":") + directory_; }

Machine::Ran Visit::run(const std::string& script) const {
  return machine_.run(fmt::format("cd {} || exit 7\n{}", sh_word(directory_), script));
}

void Visit::patiently(const std::function<void()>& what) const {
  const auto begin = std::chrono::steady_clock::now();
  for (int wait_s = 1;; wait_s = std::min(2 * wait_s, kLongestPause_s)) {
    try {
      return what();
    } catch (const Lost& lost) {
      const auto waited = std::chrono::steady_clock::now() - begin;
      if (waited + std::chrono::seconds(wait_s) > std::chrono::seconds(manner_.patience_s)) throw;
      manner_.tell(fmt::format("note: {}; trying again in {} s", lost.what(), wait_s));
      for (int i = 0; i < 5 * wait_s; ++i) {
        if (machine_.on_wait) machine_.on_wait();
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
      }
    }
  }
}

Visit::Surroundings Visit::look_around(const Errand& errand) {
  const std::string base =
      errand.base.empty() ? (errand.is_shared ? "\"$HOME\"" : "\"${TMPDIR:-/tmp}\"") : sh_word(errand.base);
  const std::string model = errand.model_there.empty() ? errand.model : errand.model_there;
  const std::string needs = errand.is_shared ? "sbatch squeue scancel" : "setsid";
  const Machine::Ran ran = machine_.run(
      fmt::format("umask 077\n"
                  "echo \"machine $(uname -s) $(uname -m)\"\n"
                  "for tool in {0} tar tail head mktemp; do\n"
                  "  command -v $tool >/dev/null || {{ echo \"lacks $tool\"; exit 0; }}; done\n"
                  "[ -z {2} ] || echo \"model $(wc -c <{2} 2>/dev/null)\"\n"
                  "d=$(mktemp -d {1}/greta-launch-XXXXXXXX 2>&1) || {{ echo \"refuses $d\"; exit 0; }}\n"
                  "echo \"free $(df -Pk \"$d\" | tail -n 1)\"\n"
                  "echo \"directory $d\"\n",
                  needs, base, sh_word(model)));
  Surroundings there;
  std::istringstream lines(ran.output);
  for (std::string line; std::getline(lines, line);) {
    const size_t space = line.find(' ');
    if (space != std::string::npos) there.said[line.substr(0, space)] = line.substr(space + 1);
  }
  directory_ = there["directory"];
  if (const std::string tool = there["lacks"]; !tool.empty()) {
    const bool slurm = errand.is_shared && needs.find(tool) != std::string::npos;
    fail_input("{}: has no {}{}", machine_.name(), tool,
               slurm ? ": --slurm is for where jobs are submitted" : "");
  }
  if (directory_.empty())
    fail_input("{}: no directory can be made there: {}; name another one (--base DIR)", machine_.name(),
               there["refuses"].empty() ? last_line(ran.errors) : there["refuses"]);
  if (!machine_.is_here() && !is_plain(directory_))
    fail_input(
        "{}: {} has characters that a shell may take for something else; name another one (--base DIR)",
        machine_.name(), directory_);
  return there;
}

/// The path of the model there; empty: ours is to be copied.
std::string Visit::model_there(const Errand& errand, const Surroundings& there) {
  if (errand.model.empty()) return "";
  const int64_t size = size_here(errand.model), theirs = number_or(there["model"], -1);
  trusted_model_ = errand.model;
  if (!errand.model_there.empty()) {
    if (theirs < 0) fail_input("{}: there is no model {}", machine_.name(), errand.model_there);
    return errand.model_there;
  }
  if (size < 0 && theirs < 0)
    fail_input("{}: there is no such model, neither here nor on {}", errand.model, machine_.name());
  if (size < 0 || (size == theirs && errand.model.starts_with('/'))) return errand.model;
  trusted_model_.clear();
  return "";
}

/// Many small files as one: each would be a connection.
void Visit::send_packed(const std::vector<ArchiveMember>& members) {
  const ScratchDirectory scratch("greta-launch");
  const std::string archive = scratch.path() + "/luggage.tgz";
  write_archive(archive, members);
  send(archive, "luggage.tgz");
  patiently([&] {
    const Machine::Ran ran = run("tar -xzf luggage.tgz && rm luggage.tgz");
    if (ran.exit_code != 0)
      fail_machine("{}: cannot unpack what was brought: {}", machine_.name(), last_line(ran.errors));
  });
}

void Visit::move_in(const Errand& errand, const Surroundings& there) {
  std::vector<std::string> arguments = errand.arguments;
  std::vector<std::pair<std::string, std::string>> files;  // here, there
  int64_t bytes = 0;
  const std::string model = model_there(errand, there);
  if (!model.empty()) {
    arguments = with_path(std::move(arguments), errand.model, model);
  } else if (!errand.model.empty()) {
    files.emplace_back(errand.model, "model.gguf");
    arguments = with_path(std::move(arguments), errand.model, "model.gguf");
  }
  for (const Luggage& one : errand.luggage) arguments = with_path(std::move(arguments), one.here, one.there);
  const std::vector<ArchiveMember> packed = packed_luggage(errand);
  for (const ArchiveMember& member : packed) bytes += std::max<int64_t>(0, size_here(member.path));
  const bool copies = errand.program_there.empty();
  if (copies && there["machine"] != this_machine())
    fail_input("{}: is {}, and this program is for {}; build it there and name it (--program-there PATH)",
               machine_.name(), there["machine"], this_machine());
  if (copies) files.emplace_back(errand.program, kProgram);
  for (const auto& [here, name] : files) bytes += std::max<int64_t>(0, size_here(here));
  const int64_t free = there.free_bytes();
  if (free >= 0 && free < bytes + kReserve)
    fail_machine("{}: {} has room for {} MiB, and {} MiB are needed; name another directory (--base DIR)",
                 machine_.name(), directory_, free >> 20, (bytes + kReserve) >> 20);
  for (const auto& [here, name] : files) send(here, name);
  if (!packed.empty()) send_packed(packed);
  command_ = {copies ? std::string("./") + kProgram : errand.program_there};
  command_.insert(command_.end(), arguments.begin(), arguments.end());
}

void Visit::arrive(const Errand& errand) {
  settings_ = settings(errand.environment);
  const Surroundings there = look_around(errand);
  try {
    if (machine_.is_here()) {  // all is in its place
      command_ = errand.arguments;
      command_.insert(command_.begin(), errand.program_there.empty() ? errand.program : errand.program_there);
    } else {
      move_in(errand, there);
    }
    check_program();
  } catch (...) {
    hurry();
    leave();
    throw;
  }
}

void Visit::check_program() const {
  const Machine::Ran ran = run(
      fmt::format("[ ! -f {1} ] || chmod 700 {1}\n{0} --version 2>&1", sh_word(command_.front()), kProgram));
  const std::string said = last_line(ran.output), ours = std::string("greta ") + GRETA_VERSION;
  if (ran.exit_code != 0)
    fail_input("{}: the program does not run there: {}{}", machine_.name(), said, why_it_does_not_run(said));
  if (said != ours)
    fail_input("{}: {} there is \"{}\", and this is {}: both must be of one version", machine_.name(),
               command_.front(), said, ours);
}

// Into a plain name first: `path` is for the login shell.
void Visit::send(const std::string& file, const std::string& name) {
  const std::string path = directory_ + "/incoming", whole = directory_ + "/" + name;
  const int64_t size = size_here(file);
  if (size < 0) fail_input("cannot read {}", file);
  if (size > kReserve)
    manner_.tell(fmt::format("{}: copying {} ({} MiB)", machine_.name(), file, size >> 20));
  int64_t there = 0;
  bool again = false;
  patiently([&] {
    if (std::exchange(again, true)) there = number_or(run("wc -c <incoming").output, 0);
    if (there < size) machine_.append(file, there, path);
    const Machine::Ran ran =
        run(fmt::format("touch incoming || exit 1\nsize=$(wc -c <incoming); echo \"$size\"\n"
                        "[ \"$size\" -ne {} ] || {{ mkdir -p {} && mv incoming {}; }}",
                        size, sh_word(fs::path(whole).parent_path().string()), sh_word(whole)));
    there = number_or(ran.output, 0);
    if (ran.exit_code != 0)
      fail_machine("{}: cannot write {}: {}", machine_.name(), whole, last_line(ran.errors));
    if (there > size) fail_machine("{}: {} changed while it was copied; try again", machine_.name(), file);
    if (there < size) throw Lost(fmt::format("{}: {} arrived in part", machine_.name(), file));
  });
}

void Visit::bring(const std::string& file, const std::string& name) { send(file, name); }

void Visit::begin(const std::string& script) {
  patiently([&] {  // once begun, what is asked again is not begun again
    const Machine::Ran ran =
        run(fmt::format("umask 077\njob={0}\n[ -s $job.pid ] && exit 0\n[ -f launch.log ] || : >launch.log\n"
                        "echo 'running   ' >$job.ended\n{1}",
                        job_, script));
    if (ran.exit_code == 0) return;
    const std::string said = last_line(ran.errors);
    if (runner_ == &kSlurm) fail_input("{}: {}", machine_.name(), one_line(ran.errors));
    fail_machine("{}: the run cannot be started: {}", place(), said);
  });
}

void Visit::start(const std::string& job, const std::string& line) {
  job_ = job;
  runner_ = &kProcess;
  begin(fmt::format("printf %s {} >$job.sh || exit 1\n{}",
                    sh_word(job_script(directory_, job, settings_, line)), runner_->start));
}

void Visit::start_array(const std::string& job, const std::string& line, const std::string& merge, int tasks,
                        const std::vector<std::string>& options) {
  job_ = job;
  runner_ = &kSlurm;
  begin(fmt::format(
      "printf %s {} >$job-task.sh || exit 1\nprintf %s {} >$job.sh || exit 1\n"
      "tasks={}\nset -- {}\n{}",
      sh_word(task_script(directory_, settings_, line, tasks)),
      sh_word(job_script(directory_, job, settings_, merge)), tasks, command_line(options), runner_->start));
  manner_.tell(fmt::format("Slurm's jobs {}: {} tasks, and one that joins them",
                           last_line(run(fmt::format("cat {}.pid", job)).output), tasks));
}

FarEnd Visit::follow() {
  std::string ended, free;
  patiently([&] {
    const Machine::Ran ran =
        machine_.run(follow_script(*runner_, directory_, job_, shown_), [&](std::string_view text) {
          shown_ += static_cast<int64_t>(text.size());
          manner_.log(text);
        });
    if (ran.exit_code == 7) throw Gone(place() + ": is gone, and with it what was there");
    const std::string both = run(fmt::format("cat {}.ended\ndf -Pk . | tail -n 1", job_)).output;
    ended = both.substr(0, both.find('\n'));
    free = both.substr(std::min(both.size(), ended.size() + 1));
  });
  FarEnd end;
  std::istringstream words(ended);
  std::string word;
  words >> word;
  if (word == "ended") words >> end.exit_code;
  const Surroundings there{{{"free", free}}};
  const bool full = there.free_bytes() >= 0 && there.free_bytes() < (int64_t{1} << 20);
  if (end.exit_code < 0)
    end.why = "ended without a word: it was killed, or the machine was restarted";
  else if (end.exit_code > 128 && end.exit_code != 130)
    end.why = fmt::format("was killed by signal {}{}", end.exit_code - 128,
                          end.exit_code == 137 ? " (is there too little memory?)" : "");
  else if (end.exit_code == 126 || end.exit_code == 127)
    end.why = "could not be started";
  if (full && (end.exit_code < 0 || end.exit_code == 3)) end.why = "failed: the disk there is full";
  return end;
}

void Visit::stop() {
  if (job_.empty()) return;
  patiently([&] { run(fmt::format("job={}\n{}", job_, runner_->stop)); });
}

void Visit::fetch(const std::vector<std::string>& names, const std::string& directory) {
  fs::create_directories(directory);
  const std::string archive = directory + "/.fetched.tar";
  {
    OutputFile file(archive, ErrorKind::input);
    int64_t have = 0;
    patiently([&] {
      const Machine::Ran ran =
          machine_.run(fmt::format("cd {} || exit 7\nset --\nfor name in {}; do\n"
                                   "  [ ! -e \"$name\" ] || set -- \"$@\" \"$name\"; done\n"
                                   "LC_ALL=C tar -cf - \"$@\" | tail -c +{}",
                                   sh_word(directory_), fmt::join(names, " "), have + 1),
                       [&](std::string_view text) {
                         file.write(text);
                         have += static_cast<int64_t>(text.size());
                       });
      if (ran.exit_code != 0) fail_machine("{}: cannot be fetched: {}", place(), last_line(ran.errors));
    });
    file.close();
  }
  unpack_archive(archive, directory);
  fs::remove(archive);
}

void Visit::leave() {
  if (directory_.empty() || fs::path(directory_).filename().string().find("greta-launch-") != 0) return;
  try {
    patiently([&] { machine_.run(fmt::format("rm -rf -- {}", sh_word(directory_))); });
    directory_.clear();
  } catch (const Error& error) {
    manner_.tell(fmt::format("note: {} is left over: {}", place(), error.what()));
  }
}

std::string Visit::memory() const {
  const nlohmann::json json = {{"schema", "greta.launch/1"},
                               {"host", machine_.host()},
                               {"ssh_config", machine_.ssh_config()},
                               {"directory", directory_},
                               {"job", job_},
                               {"results", results},
                               {"slurm", runner_ == &kSlurm},
                               {"model", trusted_model_}};
  return dump_json(json, 2) + "\n";
}

Visit Visit::remembered(const std::string& memory, const std::string& where, Manner manner) {
  const nlohmann::json json = parse_json(memory, where);
  try {
    Visit visit(Machine(json.at("host"), json.at("ssh_config")), std::move(manner));
    visit.directory_ = json.at("directory").get<std::string>();
    visit.job_ = json.at("job").get<std::string>();
    visit.results = json.at("results").get<std::string>();
    visit.runner_ = json.at("slurm").get<bool>() ? &kSlurm : &kProcess;
    visit.trusted_model_ = json.at("model").get<std::string>();
    if (!is_plain(visit.job_)) fail_input("{}: {} is no job", where, visit.job_);
    return visit;
  } catch (const nlohmann::json::exception& error) {
    fail_input("{}: is not what greta launch leaves: {}", where, error.what());
  }
}

}  // namespace greta::launch

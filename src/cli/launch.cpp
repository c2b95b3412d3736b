// `greta launch HOST... -- isolate ARGS`: the same command on other machines, by ssh or Slurm.

#include <fmt/chrono.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "bundle/bundle_files.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/launch_errand.h"
#include "cli/output.h"
#include "io/json_fields.h"
#include "io/output_file.h"
#include "judge/part.h"
#include "launch/visit.h"

namespace greta::cli {
namespace {

namespace fs = std::filesystem;
using launch::Errand;
using launch::FarEnd;
using launch::Visit;

constexpr const char* kMemory = "launch.json";
constexpr const char* kJob = "launch";  // launch.out: what it printed; launch.log: its complaints
constexpr const char* kOutVariable = "GRETA_TRACE_ATTN_L0_PIPE_OUT";

/// What comes of a far run in pieces, as whole lines of ours.
class LogLines {
 public:
  explicit LogLines(std::string from) : from_(std::move(from)) {}
  void add(std::string_view text) {
    kept_ += text;
    for (size_t end; (end = kept_.find_first_of("\r\n")) != std::string::npos; kept_.erase(0, end + 1)) {
      if (end > 0) say(stderr, "{}: {}\n", from_, kept_.substr(0, end));
    }
  }

 private:
  std::string from_, kept_;
};

launch::Manner manner_of(const LaunchOptions& options, const std::string& host) {
  return {.tell = [](const std::string& line) { say(stderr, "greta: {}\n", line); },
          .log = [lines = std::make_shared<LogLines>(host.empty() ? "slurm" : host)](
                     std::string_view text) { lines->add(text); },
          .pause = [] { throw_if_interrupted("interrupted"); },
          .patience_s = options.patience};
}

void write_memory(Visit& visit, const std::string& directory) {
  visit.results = directory;
  replace_file(directory + "/" + kMemory, visit.memory());
}

std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The model that was there has the hash of ours, where there is ours.
void check_model(const std::string& directory, const std::string& ours, const std::string& host) {
  const std::string path = directory + "/" + kManifestFile;
  std::error_code none;
  if (!fs::exists(ours, none) || !fs::exists(path, none)) return;
  const nlohmann::json manifest = parse_json(read_all(path), path);
  const std::string theirs = manifest.value("model", nlohmann::json::object()).value("hash", "");
  if (theirs != named_hash(MappedFile(ours).bytes()))
    fail_input("{}: its model is another one than {} here; the results are those of its own", host, ours);
}

/// The last line of a log that is not what the shell says of a signal.
std::string last_words(std::string log) {
  for (;;) {
    const std::string last = launch::last_line(log);
    const bool by_shell = last == "Killed" || last == "Terminated" ||
                          last.starts_with("Segmentation fault") || last.starts_with("Aborted");
    if (!by_shell) return last;
    log.erase(log.rfind(last));
  }
}

std::string resume(const std::string& directory) {
  return "; nothing is lost: greta launch --resume " + directory;
}

/// From a started run to its results in `directory`; the exit code is the far program's.
void bring_home(Visit& visit, const std::string& directory, Context& context) {
  FarEnd end;
  std::string why_stopped;
  try {
    try {
      end = visit.follow();
    } catch (const Interrupted& stopped) {
      say(stderr, "greta: {}: ending it\n", visit.place());
      why_stopped = stopped.what();
      visit.hurry();
      visit.stop();
    }
    if (visit.is_array()) visit.stop();  // a requeued task may be late: the last job did its part
    visit.fetch({launch::sh_word(visit.results), "launch.log", "launch.out", "slurm-*.log"}, directory);
  } catch (const launch::Gone&) {
    fs::remove(directory + "/" + kMemory);
    throw;
  } catch (const Error& error) {
    throw Error(error.kind(), error.what() + resume(directory));
  } catch (const Interrupted& stopped) {
    throw Interrupted(stopped.what() + resume(directory));
  }
  visit.leave();
  fs::remove(directory + "/" + kMemory);
  if (!why_stopped.empty())
    throw Interrupted(fmt::format("interrupted; what was recorded is in {}", directory));
  if (!end.why.empty()) {
    const std::string last = last_words(read_all(directory + "/launch.log"));
    fail_machine("the run {}{}{}; what it left is in {}", end.why,
                 last.empty() ? "" : "; its last words: ", last, directory);
  }
  say_report(printable_lines(read_all(directory + "/launch.out")));
  say(stderr, "greta: results in {}\n", directory);
  context.exit_code = end.exit_code;
  if (!visit.trusted_model().empty()) check_model(directory, visit.trusted_model(), visit.host());
}

std::vector<std::string> line_of(const Visit& visit, const std::vector<std::string>& more) {
  std::vector<std::string> words = visit.command();
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// --out, by the name that it has here, and how to print.
std::vector<std::string> out_of(const Errand& errand, const std::string& directory) {
  std::vector<std::string> words = {"--out", directory};
  words.insert(words.end(), errand.printing.begin(), errand.printing.end());
  return words;
}

std::string merge_of(const Visit& visit, const Errand& errand, const std::string& directory, int parts) {
  return launch::merge_line(launch::sh_word(visit.command().front()), launch::command_line(visit.command()),
                            out_of(errand, directory), parts);
}

void run_on_one(const LaunchOptions& options, const Errand& errand, const std::string& directory,
                Context& context) {
  const std::string host = options.hosts.empty() ? "" : options.hosts.front();
  Visit visit(launch::Machine(host, options.ssh_config), manner_of(options, host));
  visit.arrive(errand);
  try {
    if (options.slurm) {
      visit.start_array(kJob, launch::command_line(visit.command()),
                        merge_of(visit, errand, directory, options.tasks), options.tasks, options.sbatch);
    } else {
      visit.start(kJob, launch::command_line(line_of(visit, out_of(errand, directory))));
    }
    write_memory(visit, directory);
  } catch (...) {
    visit.hurry();
    visit.stop();
    visit.leave();
    throw;
  }
  bring_home(visit, directory, context);
}

/// One host's share.
struct HostShare {
  std::unique_ptr<Visit> visit;
  bool arrived = false;
  std::exception_ptr failure = {};
};

void do_share(HostShare& share, const Errand& errand, int number, int of, const std::string& directory) {
  try {
    share.visit->arrive(errand);
    share.arrived = true;
    const std::string part = fmt::format("{}/{}", number, of);
    share.visit->start("part",
                       launch::command_line(line_of(*share.visit, {"--part", part, "--out", "part"})));
    const FarEnd end = share.visit->follow();
    const std::string into = fmt::format("{}/.part-{}", directory, number);
    share.visit->fetch({"launch.log", "part/" + std::string(kPartFile)}, into);
    if (end.exit_code == 0) return;
    const std::string last = last_words(read_all(into + "/launch.log"));
    throw Error(end.exit_code == 2 ? ErrorKind::input : ErrorKind::machine,
                fmt::format("{}: part {} {}{}{}", share.visit->host(), part,
                            end.why.empty() ? "failed" : end.why, last.empty() ? "" : ": ", last));
  } catch (...) {
    share.failure = std::current_exception();
  }
}

std::string told(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& error) {
    return error.what();
  }
}

/// The stages are shared out; the first host that did its share joins them, and does those of hosts that
/// failed.
void run_on_several(const LaunchOptions& options, const Errand& errand, const std::string& directory,
                    Context& context) {
  const int of = static_cast<int>(options.hosts.size());
  std::vector<HostShare> shares;
  for (const std::string& host : options.hosts)
    shares.push_back(
        {std::make_unique<Visit>(launch::Machine(host, options.ssh_config), manner_of(options, host))});
  std::vector<std::thread> threads;
  for (int i = 0; i < of; ++i)
    threads.emplace_back([&, i] { do_share(shares[static_cast<size_t>(i)], errand, i + 1, of, directory); });
  for (std::thread& thread : threads) thread.join();
  const auto good = std::ranges::find_if(shares, [](const HostShare& share) { return !share.failure; });
  for (HostShare& share : shares) {
    if (share.failure) share.visit->hurry();
    if (share.failure && share.arrived) share.visit->stop();
    if (share.failure && good != shares.end())
      say(stderr, "greta: note: {}; another host does its share\n", told(share.failure));
    if (share.arrived && (good == shares.end() || &share != &*good)) share.visit->leave();
  }
  const auto tidy = [&] {
    for (int i = 1; i <= of; ++i) fs::remove_all(fmt::format("{}/.part-{}", directory, i));
  };
  if (good == shares.end()) {
    tidy();
    std::rethrow_exception(shares.front().failure);
  }
  for (int i = 1; i <= of; ++i) {
    const std::string file = fmt::format("{}/.part-{}/{}", directory, i, kPartFile);
    if (fs::exists(file)) good->visit->bring(file, fmt::format("part-{}/{}", i, kPartFile));
  }
  tidy();
  good->visit->start(kJob, merge_of(*good->visit, errand, directory, of));
  write_memory(*good->visit, directory);
  bring_home(*good->visit, directory, context);
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  return fmt::format("{:%Y-%m-%d}", fmt::localtime(now));
}

void check_word(const std::string& option, const std::string& word) {
  if (word.empty() || word.front() == '.' || word.find('/') != std::string::npos)
    fail_input("{} {}: is to be the name of a directory", option, word);
}

/// Makes it, or empties it of what GRETA left there.
std::string made_directory(const LaunchOptions& options) {
  const std::string date = options.date.empty() ? today() : options.date;
  check_word("--date", date);
  check_word("--name", options.name);
  const std::string directory = "artifacts_remote/" + date + "/" + options.name;
  if (fs::exists(directory + "/" + kMemory) && !options.force)
    fail_input("{}: a run is out for it: greta launch --resume {}, or --force to forget that", directory,
               directory);
  if (make_directory(directory, options.force)) {
    for (const auto& entry : fs::directory_iterator(directory)) {
      const std::string name = entry.path().filename().string();
      if (is_own_file(name) || name.starts_with("launch.")) fs::remove(entry.path());
    }
  }
  return directory;
}

void run_resume(const LaunchOptions& options, Context& context) {
  const std::string file = options.resume + "/" + kMemory;
  if (!fs::exists(file)) fail_input("{}: no run is out for it ({} is not there)", options.resume, kMemory);
  const std::string memory = read_all(file);
  const std::string host = parse_json(memory, file).value("host", "");
  Visit visit = Visit::remembered(memory, file, manner_of(options, host));
  bring_home(visit, options.resume, context);
}

void run_launch(const LaunchOptions& options, Context& context) {
  if (!options.resume.empty()) return run_resume(options, context);
  if (options.hosts.empty() && !options.slurm) fail_input("launch: say where: HOST..., or --slurm");
  if (options.slurm && options.hosts.size() > 1) fail_input("launch --slurm: one host submits the jobs");
  for (const std::string& host : options.hosts) launch::Machine(host, "");
  Errand errand = errand_of(options, context);
  const std::string directory = made_directory(options);
  if (!errand.writes.empty()) {
    const std::string there = directory + "/" + fs::path(errand.writes).filename().string();
    errand.arguments = launch::with_path(errand.arguments, errand.writes, there);
    if (errand.environment.contains(kOutVariable)) errand.environment[kOutVariable] = there;
  }
  if (options.hosts.empty()) errand.base = fs::absolute(directory).string();
  try {
    if (options.hosts.size() > 1)
      run_on_several(options, errand, directory, context);
    else
      run_on_one(options, errand, directory, context);
  } catch (...) {
    std::error_code ignored;
    fs::remove(directory, ignored);  // if it is empty
    throw;
  }
}

}  // namespace

void add_launch(Program& program, Context& context) {
  auto options = std::make_shared<LaunchOptions>();
  options->name = "isolate";
  Command command = program.command("launch", "isolate on other machines, by ssh or Slurm");
  command.option("HOST", options->hosts, "as ssh knows it; several share the work");
  command.flag("--slurm", options->slurm, "as an array of Slurm's, submitted here or on HOST");
  command.option("--tasks", options->tasks, "parts that the array has")
      .range(1, 1000)
      .shows_default()
      .takes("N");
  command.option("--sbatch", options->sbatch, "for sbatch: --sbatch=--time=9:00")
      .takes("OPTION")
      .repeatable();
  command.option("--date", options->date, "of artifacts_remote/DATE/NAME; default: today").takes("DATE");
  command.option("--name", options->name, "of artifacts_remote/DATE/NAME").shows_default().takes("NAME");
  command.flag("--force", options->force, "overwrite results that are there");
  command.option("--model-there", options->model_there, "the model's path on HOST").takes("PATH");
  command.option("--program", options->program, "the program to copy; default: this one").takes("FILE");
  command.option("--program-there", options->program_there, "the program on HOST: none is copied")
      .takes("PATH");
  command.option("--base", options->base, "on HOST, for a directory; default: $TMPDIR, /tmp").takes("DIR");
  command.option("--ssh-config", options->ssh_config, "ssh's -F").takes("FILE");
  command.option("--patience", options->patience, "seconds that a lost connection is tried again")
      .range(0, 1000000)
      .shows_default()
      .takes("N");
  command.option("--resume", options->resume, "fetch a run that this side lost sight of").takes("DIR");
  command.footer(
      "After -- comes isolate or diagnose with its options; its files go along.\n"
      "The exit code is the far command's; Ctrl-C ends it there, too.\n"
      "Example: greta launch gpu-box -- isolate -m model.gguf --layers 0-3");
  command.on_run([options, &context] { run_launch(*options, context); });
}

}  // namespace greta::cli

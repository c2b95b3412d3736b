#pragma once
// What runs on the far side: scripts of POSIX sh, every value in them quoted.

#include <map>
#include <string>
#include <vector>

namespace greta::launch {

/// The words of a command, quoted.
std::string command_line(const std::vector<std::string>& words);

/// The lines that set these variables.
std::string settings(const std::map<std::string, std::string>& environment);

/// Where a run keeps things: files of this name in its directory, with endings of their own.
/// `line` is run; its output goes to NAME.out, its complaints to the log.
std::string job_script(const std::string& directory, const std::string& name, const std::string& setting,
                       const std::string& line);

/// The i-th of `tasks`: leaves part-i, and a line in the log. `line` ends before --part.
std::string task_script(const std::string& directory, const std::string& setting, const std::string& line,
                        int tasks);

/// The lines that join all parts that are there, into `out`; without any, `whole` is run.
std::string merge_line(const std::string& program, const std::string& whole,
                       const std::vector<std::string>& out, int parts);

/// How a job is started, seen to be alive, and ended. All are snippets that run in the run's directory, of a
/// job called $job.
struct Runner {
  const char* start;
  const char* is_alive;
  const char* stop;
  int doubts;  // looks that find it dead before that is believed
};
extern const Runner kProcess;  // a process that outlives the connection
extern const Runner kSlurm;    // an array of tasks, and a job that joins them

/// Shows the log from `offset` on, while the job is alive and has not said how it ended.
std::string follow_script(const Runner& runner, const std::string& directory, const std::string& job,
                          long long offset);

}  // namespace greta::launch

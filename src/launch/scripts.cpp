#include "launch/scripts.h"

#include <fmt/format.h>

#include "launch/machine.h"

namespace greta::launch {

std::string command_line(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : " ") + sh_word(word);
  return line;
}

std::string settings(const std::map<std::string, std::string>& environment) {
  std::string lines;
  for (const auto& [name, value] : environment) lines += fmt::format("export {}={}\n", name, sh_word(value));
  return lines;
}

// The file NAME.ended is there from the start, and is written over in place: a full disk has room for that.
std::string job_script(const std::string& directory, const std::string& name, const std::string& setting,
                       const std::string& line) {
  return fmt::format(
      "#!/bin/sh\n"
      "cd {0} || exit 3\n"
      "trap : TERM INT HUP\n"
      "{2}"
      "{3} >{1}.out 2>>launch.log </dev/null\n"
      "printf 'ended %-4d\\n' $? 1<>{1}.ended\n",
      sh_word(directory), name, setting, line);
}

std::string task_script(const std::string& directory, const std::string& setting, const std::string& line,
                        int tasks) {
  return fmt::format(
      "#!/bin/sh\n"
      "cd {0} || exit 3\n"
      "i=$SLURM_ARRAY_TASK_ID\n"
      "{1}"
      "{2} --part \"$i/{3}\" --out \"part-$i\" --force >\"part-$i.out\" 2>\"part-$i.err\" </dev/null\n"
      "code=$?\n"
      "if [ $code -eq 0 ]; then echo \"greta: part $i of {3} is judged\" >>launch.log\n"
      "else echo \"greta: part $i of {3} failed: $(tail -n 1 \"part-$i.err\")\" >>launch.log; fi\n"
      "exit $code\n",
      sh_word(directory), setting, line, tasks);
}

std::string merge_line(const std::string& program, const std::string& whole,
                       const std::vector<std::string>& out, int parts) {
  return fmt::format(
      "set --; i=0\n"
      "while [ $i -lt {0} ]; do i=$((i + 1)); [ ! -s \"part-$i/part.cbor\" ] || set -- \"$@\" \"part-$i\"; "
      "done\n"
      "if [ $# -eq 0 ]; then set -- {1}; else set -- {2} merge \"$@\"; fi\n"
      "\"$@\" {3}",
      parts, whole, program, command_line(out));
}

// A shell ignores Ctrl-C for what it starts in the background: TERM is what ends a run. A zombie, which a
// container's first process may leave, is not alive.
const Runner kProcess = {
    .start =
        "setsid sh $job.sh >/dev/null 2>&1 </dev/null &\n"
        "echo $! >$job.pid\n",
    .is_alive =
        "{ s=$(cat \"/proc/$(cat $job.pid)/stat\" 2>/dev/null) && case ${s##*) } in Z*) false;; esac; }",
    .stop =
        "pid=$(cat $job.pid); kill -TERM \"-$pid\" 2>/dev/null\n"
        "i=0; while [ $i -lt 60 ] && kill -0 \"-$pid\" 2>/dev/null; do\n"
        "  case $(cat $job.ended) in ended*) break;; esac; i=$((i + 1)); sleep 0.5; done\n"
        "kill -KILL \"-$pid\" 2>/dev/null; :\n",
    .doubts = 2};

// A job that squeue does not know is over; a controller that does not answer may be back soon.
const Runner kSlurm = {
    .start =
        "array=$(sbatch --parsable --job-name=greta --requeue --open-mode=append --chdir=\"$PWD\" "
        "--output=\"$PWD/slurm-%a.log\" --array=\"1-$tasks\" \"$@\" $job-task.sh) || exit 9\n"
        "array=${array%%;*}\n"
        "merge=$(sbatch --parsable --job-name=greta-merge --requeue --open-mode=append --chdir=\"$PWD\" "
        "--output=\"$PWD/slurm-merge.log\" --dependency=\"afterany:$array\" \"$@\" $job.sh) || {\n"
        "  scancel \"$array\"; exit 9; }\n"
        "echo \"$array,${merge%%;*}\" >$job.pid\n",
    .is_alive =
        "{ q=$(squeue -h -o %i -j \"$(cat $job.pid)\" 2>&1) || "
        "case $q in *nvalid*) q=;; *) q=unknown;; esac; [ -n \"$q\" ]; }",
    .stop =
        "scancel $(tr , ' ' <$job.pid) 2>/dev/null\n"
        "i=0; while [ $i -lt 60 ] && [ -n \"$(squeue -h -o %i -j \"$(cat $job.pid)\" 2>/dev/null)\" ]; do\n"
        "  i=$((i + 1)); sleep 0.5; done\n",
    .doubts = 5};

std::string follow_script(const Runner& runner, const std::string& directory, const std::string& job,
                          long long offset) {
  return fmt::format(
      "cd {0} || exit 7\n"
      "job={1}; n={2}; turn=0; over=; missed=0\n"
      "while :; do\n"
      "  [ -e $job.ended ] || exit 7\n"  // another connection has seen the end, and cleared up
      "  case $(cat $job.ended) in ended*) over=1;; esac\n"
      "  if [ -z \"$over\" ] && [ $((turn % 4)) -eq 0 ]; then\n"
      "    if {3}; then missed=0; else missed=$((missed + 1)); fi\n"
      "    [ $missed -lt {4} ] || over=1\n"
      "  fi\n"
      "  turn=$((turn + 1))\n"
      "  size=$(wc -c <launch.log); size=$((size))\n"
      "  if [ $size -gt $n ]; then tail -c +$((n + 1)) launch.log | head -c $((size - n)); n=$size; fi\n"
      "  [ -z \"$over\" ] || break\n"
      "  sleep 0.5\n"
      "done",
      sh_word(directory), job, offset, runner.is_alive, runner.doubts);
}

}  // namespace greta::launch

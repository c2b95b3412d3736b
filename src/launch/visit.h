#pragma once
// One run on one machine, in a directory of its own there: made, filled, run in, emptied into ours, removed.
// What was begun can be taken up again by another process (`greta launch --resume`).

#include <functional>
#include <string>

#include "io/archive.h"
#include "launch/errand.h"
#include "launch/machine.h"
#include "launch/scripts.h"

namespace greta::launch {

struct Manner {
  std::function<void(const std::string& line)> tell = [](const std::string&) {};  // progress, one line
  std::function<void(std::string_view)> log = [](std::string_view) {};            // of the far run
  std::function<void()> pause = {};  // several times a second while waiting; may throw to stop
  int patience_s = 3600;             // how long a lost connection is tried anew
};

/// How a far run ended.
struct FarEnd {
  int exit_code = -1;  // -1: it did not say
  std::string why;     // it ended without a result
};

class Visit {
 public:
  Visit(Machine machine, Manner manner);

  /// Looks whether the far side can run the errand, makes a directory there and fills it. Where that fails
  /// the directory is gone again. Input Errors: no program or model that runs there; machine Errors: no room.
  void arrive(const Errand& errand);

  /// The command with the paths that hold there: program first.
  const std::vector<std::string>& command() const { return command_; }
  const std::string& host() const { return machine_.host(); }
  /// The path of our model where theirs, of the same path and size, is used; empty where none was.
  const std::string& trusted_model() const { return trusted_model_; }

  /// A file into the directory there.
  void bring(const std::string& file, const std::string& name);
  /// Starts `line` as a process, or with `tasks` above 0 as an array of Slurm's whose tasks run `line` with a
  /// part each, and then `merge`. `options` are for sbatch. Once started it goes on without us.
  void start(const std::string& job, const std::string& line);
  void start_array(const std::string& job, const std::string& line, const std::string& merge, int tasks,
                   const std::vector<std::string>& options);

  /// Waits for its end; connects again where the connection is lost.
  FarEnd follow();
  /// Waiting hears `pause` no more, and is not for long: what is left to do is to be done.
  void hurry();
  bool is_array() const { return runner_ == &kSlurm; }
  /// Ends it.
  void stop();
  /// The files of these names (words of the shell's) into `directory`, which is made; takes up where a lost
  /// connection broke off.
  void fetch(const std::vector<std::string>& names, const std::string& directory);
  /// Removes the directory there. A note, not an Error, where that fails.
  void leave();

  /// What another process needs to go on; and from there.
  std::string memory() const;
  static Visit remembered(const std::string& memory, const std::string& where, Manner manner);

  std::string place() const;  // HOST:DIRECTORY
  std::string results;        // what the run's --out is called

 private:
  struct Surroundings;
  Machine::Ran run(const std::string& script) const;
  void patiently(const std::function<void()>& what) const;
  Surroundings look_around(const Errand& errand);
  std::string model_there(const Errand& errand, const Surroundings& there);
  void move_in(const Errand& errand, const Surroundings& there);
  void send(const std::string& file, const std::string& name);
  void send_packed(const std::vector<ArchiveMember>& members);
  void check_program() const;
  void begin(const std::string& script);

  Machine machine_;
  Manner manner_;
  std::string directory_, job_;
  const Runner* runner_ = &kProcess;
  std::vector<std::string> command_;
  std::string settings_;
  std::string trusted_model_;
  int64_t shown_ = 0;  // bytes of the log
};

}  // namespace greta::launch

#pragma once
// What is to be done elsewhere: a command of greta, and the files that it reads.

#include <map>
#include <string>
#include <vector>

namespace greta::launch {

/// A file or directory of ours that goes along, by this name there.
struct Luggage {
  std::string here;   // as the arguments spell it
  std::string there;  // relative
};

struct Errand {
  std::vector<std::string> arguments;  // isolate ...: as given, but for --out, --json and --format
  std::vector<std::string> printing;   // --json, --format: how the far program prints its result
  std::map<std::string, std::string> environment;
  std::string program;        // of ours, to be copied; or
  std::string program_there;  // one that is there
  std::string model;          // as the arguments spell it; empty: none
  std::string model_there;    // where it is already; empty: at the same path, or it is copied
  std::vector<Luggage> luggage;
  std::string writes;      // a file besides those of --out, which is to come home with them; empty: none
  std::string base;        // the directory there in which ours is made; empty: $TMPDIR or /tmp, or
  bool is_shared = false;  // $HOME, which the nodes of a cluster see alike
};

/// The arguments with `to` in the place of the path `from`: a word, what follows its "=", or an item of a
/// list.
std::vector<std::string> with_path(std::vector<std::string> arguments, const std::string& from,
                                   const std::string& to);

}  // namespace greta::launch

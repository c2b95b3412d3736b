#pragma once
// A directory of ours for a while.

#include <string>

namespace greta {

/// Made anew among the system's temporary files, as NAME-XXXXXX; gone with all that is in it afterwards.
class ScratchDirectory {
 public:
  /// Throws a machine Error where none can be made.
  explicit ScratchDirectory(const std::string& name);
  ~ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace greta

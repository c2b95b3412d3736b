#pragma once
// Archives: a .tgz read into memory or written in a fixed order; a .tar of a machine that we asked for it, to
// disk.

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace greta {

/// The regular files of a .tgz for which `wanted(name)` holds, by name as the archive spells it (without
/// "./"). Memory follows what is really read, never a size in a header. Input Errors: not a .tgz, cut off, a
/// name twice, or inflates to more than 64 MiB and a hundred times its own size.
std::map<std::string, std::vector<std::byte>> read_archive(
    const std::string& path, const std::function<bool(const std::string&)>& wanted);

/// The regular files of a .tar, into `directory`, by the last part of their names: none lands elsewhere.
/// Links and hidden files are left out. Errors: not a .tar, cut off, a name twice, what cannot be written.
void unpack_archive(const std::string& path, const std::string& directory);

struct ArchiveMember {
  std::string name;  // in the archive
  std::string path;  // on disk
};

/// Writes a gzip (level 1) tar of `members` in their order, without times or owners:
/// equal files give equal bytes. Machine Errors.
void write_archive(const std::string& path, std::span<const ArchiveMember> members);

}  // namespace greta

#include "cli/capture_log.h"

#include <elf.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>

#include "base/error.h"
#include "base/mapped_file.h"

namespace greta::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLogFiles[] = {"capture.jsonl", "capture.pid"};

/// The file that a shell would run.
std::string resolved(const std::string& program) {
  if (program.find('/') != std::string::npos) return program;
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string candidate = folder + "/" + program;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return program;
}

bool is_elf(std::string_view bytes) {
  return bytes.size() > sizeof(Elf64_Ehdr) && std::memcmp(bytes.data(), ELFMAG, SELFMAG) == 0 &&
         bytes[EI_CLASS] == ELFCLASS64;
}

/// Whether a loader is asked to load libraries.
bool is_dynamic(std::string_view bytes) {
  Elf64_Ehdr header;
  std::memcpy(&header, bytes.data(), sizeof header);
  for (uint64_t i = 0; i < header.e_phnum; ++i) {
    const uint64_t at = header.e_phoff + i * header.e_phentsize;
    Elf64_Phdr part;
    if (at + sizeof part > bytes.size()) return true;
    std::memcpy(&part, bytes.data() + at, sizeof part);
    if (part.p_type == PT_INTERP) return true;
  }
  return false;
}

}  // namespace

CaptureLog read_capture_log(const std::string& directory) {
  CaptureLog log;
  std::ifstream file(fs::path(directory) / kLogFiles[0]);
  for (std::string line; std::getline(file, line);) {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) continue;
    if (json.contains("graph"))
      log.graphs.push_back({json.value("rows", 0), json.value("tokens", ""), json.value("logits", "")});
    if (json.contains("recorded"))
      log.recorded.push_back({json.value("recorded", ""), json.value("rows", 0), json.value("stages", 0)});
    if (json.contains("note")) log.notes.push_back(json.value("note", ""));
  }
  return log;
}

void remove_capture_log(const std::string& directory) {
  std::error_code ignored;
  for (const char* name : kLogFiles) fs::remove(fs::path(directory) / name, ignored);
}

Attestation attest_capture(const CaptureLog& with, const CaptureLog& without) {
  const size_t count = std::min(with.graphs.size(), without.graphs.size());
  size_t compared = 0;
  for (; compared < count; ++compared) {
    const CaptureLog::Graph &a = with.graphs[compared], &b = without.graphs[compared];
    if (a.tokens != b.tokens) break;
    if (a.logits == b.logits) continue;
    return {"different",
            fmt::format(
                "logits DIFFER from a run without capture, from graph {} of {} on ({} rows): being looked at "
                "changes what this program computes, so the bundle shows other kernels than its own",
                compared + 1, count, a.rows)};
  }
  if (compared == 0) return {"not compared", "logits not compared: the second run computed nothing alike"};
  std::string sentence =
      fmt::format("logits of {} graphs compared with a run without capture: equal bit for bit", compared);
  if (compared < count)
    sentence += fmt::format("; from graph {} on the runs had other tokens (sampling?)", compared + 1);
  if (compared == count && with.graphs.size() != without.graphs.size())
    sentence +=
        fmt::format("; one of the runs had more (of {} and {})", with.graphs.size(), without.graphs.size());
  return {"equal", sentence};
}

std::string why_unseen(const std::string& program) {
  const std::string path = resolved(program);
  struct stat status;
  if (::stat(path.c_str(), &status) == 0 && (status.st_mode & (S_ISUID | S_ISGID)) != 0)
    return fmt::format("{} runs as another user: nothing can be preloaded into it", path);
  try {
    const MappedFile file(path);
    const std::string_view bytes = file.text();
    const auto has = [&](std::string_view text) { return bytes.find(text) != std::string_view::npos; };
    if (is_elf(bytes) && !is_dynamic(bytes))
      return fmt::format("{} is linked statically: nothing can be preloaded into it", path);
    if (is_elf(bytes) && has("ggml_") && !has("libggml") && !has("libllama"))
      return fmt::format("{} has ggml built in; build it with shared libraries (BUILD_SHARED_LIBS=ON)", path);
  } catch (const Error&) {  // a script, or not ours to read
  }
  return fmt::format("{} computed nothing with a shared ggml (libggml.so and its kin)", program);
}

}  // namespace greta::cli

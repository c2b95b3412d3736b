#include "model/gguf.h"

#include <algorithm>
#include <bit>
#include <filesystem>
#include <limits>

#include "model/gguf_cursor.h"
#include "model/gguf_metadata.h"
#include "model/gguf_split.h"
#include "model/gguf_tensors.h"

namespace greta {
namespace {

constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kSmallestAlignment = 8;  // by the specification; data of every type can be read at it
constexpr uint64_t kLargestAlignment = 1 << 20;

std::string_view text_at_start(std::span<const std::byte> bytes, size_t size) {
  return {reinterpret_cast<const char*>(bytes.data()), std::min(size, bytes.size())};
}

void check_magic(std::span<const std::byte> bytes, std::string_view label) {
  const std::string_view start = text_at_start(bytes, 64);
  const std::string_view magic = start.substr(0, 4);
  if (magic == "GGUF") return;
  if (magic == "FUGG")
    fail_input("{}: a big-endian GGUF file is not supported; convert it to little-endian", label);
  if (magic == "lmgg" || magic == "fmgg" || magic == "tjgg") {
    fail_input("{}: a GGML file from before GGUF; convert the model to GGUF", label);
  }
  if (start.starts_with("version https://git-lfs")) {
    fail_input("{}: a Git LFS pointer instead of the model; fetch the model itself (git lfs pull)", label);
  }
  fail_input("{}: not a GGUF file: it starts with '{}' instead of 'GGUF'", label, excerpt(magic));
}

/// What people name in the place of a GGUF file; what is wrong with a file, MappedFile says.
void refuse_what_is_no_gguf(const std::string& path) {
  constexpr const char* kHow = "GRETA reads GGUF files and directories of Hugging Face checkpoints";
  std::error_code none;
  if (path.find("://") != std::string::npos)
    fail_input("{}: a model is read from a file: download it first", path);
  if (path.ends_with(".safetensors") || path.ends_with("config.json"))
    fail_input("{}: a part of a checkpoint: name its directory", path);
  const bool hub_name =
      std::count(path.begin(), path.end(), '/') == 1 && !path.starts_with('.') && !path.starts_with('/');
  if (hub_name && !path.ends_with(".gguf") && !std::filesystem::exists(path, none))
    fail_input("{}: no such file; a name on a hub must be downloaded first. {}", path, kHow);
}

uint32_t read_version(GgufCursor& cursor, std::string_view label) {
  const auto version = cursor.read<uint32_t>("the version");
  if (version == 2 || version == 3) return version;
  const uint32_t swapped = __builtin_bswap32(version);
  if (swapped >= 1 && swapped <= 3) {
    fail_input("{}: a big-endian GGUF file is not supported; convert it to little-endian", label);
  }
  fail_input("{}: GGUF version {} is not supported; GRETA reads versions 2 and 3, convert the model again",
             label, version);
}

uint64_t read_alignment(const ModelFile& file) {
  constexpr std::string_view kKey = "general.alignment";
  const uint64_t alignment =
      file.find_uint(kKey, std::numeric_limits<uint64_t>::max()).value_or(kDefaultAlignment);
  if (alignment == 0 || alignment % kSmallestAlignment != 0 || alignment > kLargestAlignment) {
    fail_input("{}: {} is {}; it must be a multiple of {}, up to {}", file.path(), kKey, alignment,
               kSmallestAlignment, kLargestAlignment);
  }
  return alignment;
}

/// Without the part: the caller has it.
ModelFile read_gguf(std::span<const std::byte> bytes, const std::string& label) {
  check_magic(bytes, label);
  GgufCursor cursor(bytes, label);
  cursor.take(4, "the magic");
  const uint32_t version = read_version(cursor, label);
  const auto n_tensors = cursor.read<uint64_t>("the number of tensors");
  const auto n_entries = cursor.read<uint64_t>("the number of metadata entries");
  ModelFile file(label, fmt::format("GGUF v{}", version));
  file.set_metadata(read_metadata(cursor, n_entries));
  file.set_tensors(read_tensors(cursor, n_tensors, read_alignment(file), bytes));
  return file;
}

}  // namespace

ModelFile open_gguf(const std::string& path) {
  refuse_what_is_no_gguf(path);
  MappedFile map(path);
  ModelFile file = read_gguf(map.bytes(), path);
  const auto paths = split_paths(file);
  std::error_code none;
  const auto is_there = [&](const std::string& part) { return std::filesystem::exists(part, none); };
  if (!paths.empty() && std::ranges::all_of(paths, is_there)) return join_split(path, paths);
  file.add_part({std::filesystem::path(path).filename().string(), map.bytes(), std::move(map)});
  return file;
}

ModelFile parse_gguf(std::span<const std::byte> bytes, const std::string& label) {
  ModelFile file = read_gguf(bytes, label);
  file.add_part({label, bytes});
  return file;
}

}  // namespace greta

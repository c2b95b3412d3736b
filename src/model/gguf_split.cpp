#include "model/gguf_split.h"

#include <algorithm>
#include <filesystem>
#include <limits>

#include "base/error.h"
#include "model/gguf.h"

namespace greta {
namespace {

constexpr uint64_t kMostParts = 65535;  // split.count is 16 bits wide

uint64_t part_count(const ModelFile& file) {
  return file.find_uint("split.count", std::numeric_limits<uint64_t>::max() - 1).value_or(0);
}

std::optional<uint64_t> part_number(const ModelFile& file) {
  return file.find_uint("split.no", std::numeric_limits<uint64_t>::max() - 1);
}

std::string name_end(uint64_t number, uint64_t count) {
  return fmt::format("-{:05}-of-{:05}.gguf", number + 1, count);
}

bool is_there(const std::string& path) {
  std::error_code none;
  return std::filesystem::exists(path, none);
}

void check_part(const ModelFile& part, uint64_t number, uint64_t count) {
  if (part_count(part) == count && part_number(part) == number) return;
  const std::string said = part_of_split(part);
  fail_input("{}: is not part {} of {}, as its name says, but {}; fetch it again", part.path(), number + 1,
             count, said.empty() ? "a whole file" : said);
}

}  // namespace

std::vector<std::string> split_paths(const ModelFile& file) {
  const uint64_t count = part_count(file);
  const auto number = part_number(file);
  if (count <= 1 || count > kMostParts || !number || *number >= count) return {};
  const std::string& path = file.path();
  const std::string end = name_end(*number, count);
  if (!path.ends_with(end)) return {};
  std::vector<std::string> paths;
  for (uint64_t i = 0; i < count; ++i)
    paths.push_back(path.substr(0, path.size() - end.size()) + name_end(i, count));
  return paths;
}

ModelFile join_split(const std::string& path, const std::vector<std::string>& paths) {
  std::vector<FilePart> parts;
  std::vector<Tensor> tensors;
  Metadata metadata;
  std::string format;
  std::optional<uint64_t> claimed;
  for (size_t i = 0; i < paths.size(); ++i) {
    MappedFile map(paths[i]);
    const ModelFile part = parse_gguf(map.bytes(), paths[i]);
    check_part(part, i, paths.size());
    tensors.insert(tensors.end(), part.tensors().begin(), part.tensors().end());
    if (i == 0) {
      metadata = part.metadata();
      format = fmt::format("{} in {} files", part.format(), paths.size());
      claimed = part.find_uint("split.tensors.count", std::numeric_limits<uint64_t>::max());
    }
    parts.push_back({std::filesystem::path(paths[i]).filename().string(), map.bytes(), std::move(map)});
  }
  if (claimed && *claimed != tensors.size())
    fail_input("{}: split.tensors.count is {}, but the {} parts have {} tensors; fetch them again", paths[0],
               *claimed, paths.size(), tensors.size());
  std::erase_if(metadata, [](const auto& entry) { return entry.first.starts_with("split."); });
  ModelFile whole(path, format);
  whole.set_metadata(std::move(metadata));
  whole.set_tensors(std::move(tensors));
  for (FilePart& part : parts) whole.add_part(std::move(part));
  return whole;
}

std::string part_of_split(const ModelFile& file) {
  const uint64_t count = part_count(file);
  if (count <= 1) return {};
  const auto number = part_number(file);
  return number ? fmt::format("part {} of {} of a split model", *number + 1, count)
                : fmt::format("one of {} parts of a split model", count);
}

void refuse_part(const ModelFile& file) {
  const std::string part = part_of_split(file);
  if (part.empty()) return;
  const auto paths = split_paths(file);
  const auto missing = std::ranges::find_if_not(paths, is_there);
  if (missing != paths.end()) fail_input("{}: {}; {} is missing: put it beside", file.path(), part, *missing);
  fail_input(
      "{}: {}; merge them first (llama-gguf-split --merge FIRST_PART WHOLE), or name them as that does: "
      "MODEL-00001-of-{:05}.gguf",
      file.path(), part, part_count(file));
}

}  // namespace greta

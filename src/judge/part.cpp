#include "judge/part.h"

#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/mapped_file.h"
#include "io/json_fields.h"
#include "verdict/error_picture_json.h"

namespace greta {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(UnitBias, gain, spread, ratio)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Judgement, noise_ratio, bias, position, element, rows, not_finite, untold,
                                   over_gap)

namespace {

// Changes with what a judgement holds.
constexpr const char* kStoredPart = "greta.part/1 " GRETA_VERSION;
constexpr int kMostParts = 100'000;

nlohmann::json json_of(const std::string& key, const JudgedStage& judged) {
  nlohmann::json json = {{"key", key}, {"why", judged.why}};
  if (judged.judgement) json["judgement"] = *judged.judgement;
  if (judged.picture != nullptr) json["picture"] = *judged.picture;
  return json;
}

JudgedStage judged_from(const nlohmann::json& json) {
  JudgedStage judged;
  judged.why = json.at("why").get<std::string>();
  if (json.contains("judgement")) judged.judgement = json.at("judgement").get<Judgement>();
  if (json.contains("picture"))
    judged.picture = std::make_shared<const ErrorPicture>(json.at("picture").get<ErrorPicture>());
  return judged;
}

}  // namespace

Share parse_part(const std::string& text) {
  Share part;
  const char* end = text.data() + text.size();
  const auto number = std::from_chars(text.data(), end, part.number);
  const bool slash = number.ec == std::errc() && number.ptr != end && *number.ptr == '/';
  const auto of = slash ? std::from_chars(number.ptr + 1, end, part.of) : number;
  const bool good = slash && of.ec == std::errc() && of.ptr == end;
  if (!good || part.number < 1 || part.of > kMostParts || part.number > part.of)
    fail_input("--part {}: use i/n, such as 3/8 for the third of eight parts", text);
  return part;
}

std::set<At> share_of(const std::vector<const PhaseRecord*>& phases, const Share& part) {
  std::set<std::pair<Stage, int>> places;
  for (const PhaseRecord* phase : phases) {
    for (const auto& [at, event] : phase->view.events()) places.emplace(at.stage, at.layer);
  }
  std::set<At> share;
  if (part.is_whole()) return share;
  int next = 0;
  for (const auto& [stage, layer] : places) {
    if (next++ % part.of == part.number - 1) share.insert({layer, stage});
  }
  return share;
}

std::string stored_part(const JudgedPart& part) {
  nlohmann::json judgements = nlohmann::json::array();
  for (const auto& [key, judged] : part.judgements) judgements.push_back(json_of(key, judged));
  std::string bytes;
  nlohmann::json::to_cbor({{"schema", kStoredPart},
                           {"part", part.part.number},
                           {"of", part.part.of},
                           {"command", part.command},
                           {"model", part.model},
                           {"judgements", std::move(judgements)}},
                          bytes);
  return bytes;
}

JudgedPart part_from_stored(std::string_view bytes, const std::string& where) {
  try {
    const nlohmann::json file = parse_cbor(bytes, where);
    if (const std::string schema = file.at("schema"); schema != kStoredPart)
      fail_input("{}: was written by another version ({}; this is {})", where, schema, kStoredPart);
    JudgedPart part{.part = {file.at("part"), file.at("of")},
                    .command = file.at("command"),
                    .model = file.at("model"),
                    .judgements = {}};
    const Share& share = part.part;
    if (share.number < 1 || share.of > kMostParts || share.number > share.of)
      fail_input("{}: is no part of a run: {} of {}", where, share.number, share.of);
    for (const nlohmann::json& judged : file.at("judgements"))
      part.judgements.emplace(judged.at("key").get<std::string>(), judged_from(judged));
    return part;
  } catch (const nlohmann::json::exception& error) {
    fail_input("{}: is no part of a run: {}", where, error.what());
  }
}

JudgedPart read_part(const std::string& directory) {
  const std::string file = directory + "/" + kPartFile;
  std::error_code none;
  if (!std::filesystem::exists(file, none))
    fail_input("{}: holds no part ({}): isolate or diagnose with --part i/n --out {} makes one", directory,
               kPartFile, directory);
  return part_from_stored(MappedFile(file).text(), file);
}

}  // namespace greta

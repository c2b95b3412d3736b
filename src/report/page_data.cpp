// What lies behind the page's map: for each place its worst recording, what every cell makes of it, and what
// was found there. Arrays where there are thousands.

#include <fmt/format.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "io/json_number.h"
#include "report/page.h"
#include "report/writer.h"

namespace greta::report {
namespace {

using nlohmann::json;

/// Four digits: what is shown, and a quarter of the bytes.
json short_number(double value) {
  return std::isfinite(value) ? json(std::stod(fmt::format("{:.4g}", value))) : json_number(value);
}

/// As it was recorded.
json exact_number(float value) {
  return std::isfinite(value) ? json(fmt::format("{}", value)) : json_number(value);
}

json short_numbers(const std::vector<double>& values) {
  json list = json::array();
  for (const double value : values) list.push_back(short_number(value));
  return list;
}

json picture_json(const ErrorPicture& picture) {
  json values = json::array();
  for (const ErrorPicture::Value& value : picture.values)
    values.push_back({value.element, exact_number(value.observed), fmt::format("{:.9g}", value.expected),
                      short_number(value.bound)});
  return {{"rows", picture.rows},
          {"heads", picture.heads},
          {"positions", picture.positions},
          {"ratios", short_numbers(picture.ratios)},
          {"histogram", picture.histogram},
          {"position", picture.position},
          {"values", values}};
}

json place_json(const StageNoise& noise) {
  return {{"phase", name(noise.phase)},
          {"layer", noise.layer},
          {"stage", name(noise.stage)},
          {"ratio", short_number(noise.ratio)},
          {"cell", name(noise.cell)},
          {"kernel", noise.kernel},
          {"route", noise.route},
          {"arithmetic", noise.arithmetic},
          {"picture", noise.picture == nullptr ? json() : picture_json(*noise.picture)}};
}

/// "E" EQUAL, "R" ROUNDING, "F" FAULT, "P" PROPAGATED, "M" MISSING.
char letter(PairStatus status) { return name(status).front(); }

/// What its letter stands for, in English and Spanish.
json statuses_json(const Report& report) {
  const Writer spanish(report, Language::spanish);
  json words = json::object();
  for (const PairStatus status : kPairStatuses)
    words[std::string(1, letter(status))] = {name(status), spanish.word(name(status))};
  return words;
}

/// prefill_last against decode0 by stage: for each of the verdict's cells a letter (a blank where it has no
/// such pair) and both noise ratios and the MAE.
json pairs_json(const Verdict& verdict) {
  std::map<CellKey, size_t> index;
  for (const Cell& cell : verdict.cells) index.emplace(cell.key, index.size());
  std::map<At, std::vector<const StagePair*>> places;
  for (const StagePair& pair : verdict.pairs) {
    auto& row = places[{pair.layer, pair.stage}];
    row.resize(index.size());
    row[index.at(pair.cell)] = &pair;
  }
  json all = json::object();
  for (const auto& [at, row] : places) {
    std::string letters;
    json prefill = json::array(), decode = json::array(), mae = json::array();
    for (const StagePair* pair : row) {
      letters += pair == nullptr ? ' ' : letter(pair->status);
      const bool judged = pair != nullptr && pair->judged_alone;
      prefill.push_back(judged ? short_number(pair->noise_ratio_prefill) : json());
      decode.push_back(judged ? short_number(pair->noise_ratio_decode) : json());
      mae.push_back(pair != nullptr ? short_number(pair->metrics.mae) : json());
    }
    all[fmt::format("L{}/{}", at.layer, name(at.stage))] = {letters, prefill, decode, mae};
  }
  return all;
}

json scores_of(const Finding& finding) {
  json list = json::array();
  if (!finding.best.empty()) list.push_back({finding.best, short_number(finding.explained_residual)});
  for (const RuledOut& other : finding.ruled_out)
    list.push_back({other.hypothesis, short_number(other.explained_residual)});
  return list;
}

json finding_json(const Finding& finding, size_t group) {
  json intervention;
  if (finding.intervention) {
    const Intervention& done = *finding.intervention;
    intervention = {{"removed", done.mismatch_removed},
                    {"prompt", done.prompt},
                    {"mismatch", {short_number(done.mismatch_before), short_number(done.mismatch_after)}},
                    {"logits", {short_number(done.logits_before), short_number(done.logits_after)}}};
  }
  return {{"group", group},
          {"phase", name(finding.phase)},
          {"layer", finding.layer},
          {"stage", name(finding.stage)},
          {"hypothesis", finding.hypothesis()},
          {"title", {finding.title.en, finding.title.es}},
          {"pattern", {finding.pattern.en, finding.pattern.es}},
          {"scores", scores_of(finding)},
          {"intervention", intervention}};
}

/// The number of the group that a finding is listed in, from 1.
size_t group_of(const Facts& facts, size_t finding) {
  for (size_t i = 0; i < facts.findings.size(); ++i) {
    if (std::ranges::find(facts.findings[i].members, finding) != facts.findings[i].members.end())
      return i + 1;
  }
  return 0;
}

}  // namespace

json page_data(const Report& report) {
  const Verdict& verdict = report.verdict;
  json cells = json::array(), places = json::array(), findings = json::array(), sources = json::array();
  for (const Cell& cell : verdict.cells) cells.push_back(name(cell.key));
  for (const StageNoise& noise : verdict.noise) places.push_back(place_json(noise));
  for (size_t i = 0; i < verdict.findings.size(); ++i)
    findings.push_back(finding_json(verdict.findings[i], group_of(report.facts, i)));
  for (const KernelArithmetic& kernels : verdict.arithmetic) {
    json stages = json::array();
    for (const Stage stage : kernels.stages) stages.push_back(name(stage));
    sources.push_back({name(kernels.phase), stages, kernels.what, name(kernels.source)});
  }
  return {{"cells", cells},
          {"places", places},
          {"pairs", pairs_json(verdict)},
          {"statuses", statuses_json(report)},
          {"findings", findings},
          {"edges", kErrorEdges},
          {"arithmetic", sources}};
}

}  // namespace greta::report

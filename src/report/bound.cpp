#include "report/bound.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "io/json_number.h"

namespace greta::report {
namespace {

std::string number(double value) { return value == 0 ? "0" : fmt::format("{:.2g}", value); }

/// A step of the derivation, and whether it follows from a formula or was counted.
struct Step {
  const char* kind;
  std::string text;
};

std::vector<Step> derivation(const RoundingBound& result) {
  const bool block = is_block(result.input);
  const std::string held =
      result.input == Format::f32
          ? std::string("f32's own roundings alone")
          : fmt::format(
                "projections' inputs by half a step of {}{}", name(result.input),
                block ? "" : fmt::format(", all stages' results by half a step of {}", name(result.result)));
  std::vector<Step> steps{
      {"derived",
       "Each stage's result is moved up or down by chance by its largest rounding error: " + held + "."},
      {"measured",
       fmt::format(
           "{} such draws ran through this model on these prompts; their root mean square, element by "
           "element, is what the roundings of one run come to.",
           result.draws)},
      {"derived",
       "Times sqrt 2, as both runs round, and 9.2: errors without a common direction are larger with a "
       "probability of 1e-18 an element (Azuma's inequality, to first order)."},
      {"derived",
       "Typical: the same without 9.2 and over sqrt 3, as errors are spread evenly within their step."}};
  if (result.kl)
    steps.push_back({"derived",
                     "KL: half of the squared differences, weighted by probability: 2 * 9.2^2 times the "
                     "draws' mean (to second order)."});
  if (!result.places.empty() && result.places.front().own)
    steps.push_back({"derived",
                     "Own: twice the bound that the judge holds the stage to (docs/numerics.md): what two "
                     "kernels can make of equal inputs."});
  return steps;
}

// A place's numbers, as a row: the worst position, the median one, the worst last one.
void add_row(const std::string& what, const PlaceBound& place, Table& table) {
  const BoundSummary summary = summary_of(place);
  table.rows.push_back({what, number(summary.typical), number(summary.median.bound),
                        number(summary.last.bound), number(summary.worst.bound),
                        place.own ? number(*place.own) : std::string("-"),
                        place.is_divergence ? std::string("-") : number(place.largest),
                        fmt::format("{}, {}", summary.worst.prompt, summary.worst.position)});
}

Table table_of(const RoundingBound& result) {
  const auto right = [](const char* head) { return Column{.head = head, .align = Align::right, .least = 8}; };
  Table table{{{.head = "of", .least = 8},
               right("typical"),
               right("median"),
               right("last"),
               right("worst"),
               right("own"),
               right("largest"),
               {.head = "worst at"}},
              {}};
  for (const PlaceBound& place : result.places)
    add_row(place.layer == kNoLayer ? result.of : fmt::format("layer {}", place.layer), place, table);
  if (result.top1) add_row("top-1", *result.top1, table);
  if (result.kl) add_row("KL, nats", *result.kl, table);
  return table;
}

nlohmann::json position_json(const PositionBound& position) {
  return {{"prompt", position.prompt},
          {"position", position.position},
          {"element", position.element},
          {"bound", json_number(position.bound)},
          {"typical", json_number(position.typical)}};
}

nlohmann::json place_json(const PlaceBound& place) {
  const BoundSummary summary = summary_of(place);
  nlohmann::json json{{"layer", place.layer},
                      {"typical", json_number(summary.typical)},
                      {"median_bound", json_number(summary.median.bound)},
                      {"last_position_bound", json_number(summary.last.bound)},
                      {"bound", json_number(summary.worst.bound)},
                      {"own_bound", place.own ? json_number(*place.own) : nlohmann::json(nullptr)},
                      {"largest_value", json_number(place.largest)},
                      {"positions", nlohmann::json::array()}};
  for (const PositionBound& position : place.positions) json["positions"].push_back(position_json(position));
  return json;
}

}  // namespace

Document bound_report(const RoundingBound& result) {
  int64_t tokens = 0;
  for (const auto& [id, count] : result.prompts) tokens += count;
  Document document{
      Heading{1, fmt::format("What rounding can make of {}: {}, {}", result.of, result.model_name,
                             result.precision)},
      Paragraph{fmt::format("{} prompts of {} tokens, {} positions looked at, {} draws, {:.1f} s",
                            result.prompts.size(), tokens, result.places.front().positions.size(),
                            result.draws, result.seconds)},
      Paragraph{
          "Two right runs differ typically by the first number, and at most by: at the median position; at "
          "the prompts' last ones, which decode0 computes; at the worst."},
      table_of(result)};
  List how;
  for (const Step& step : derivation(result))
    how.items.push_back({fmt::format("{}: {}", step.kind, step.text)});
  document.push_back(std::move(how));
  return document;
}

nlohmann::json bound_json(const RoundingBound& result) {
  nlohmann::json json{{"schema", "greta.bound/1"},
                      {"model", {{"name", result.model_name}, {"file", result.model_file}}},
                      {"command_line", result.command_line},
                      {"of", result.of},
                      {"precision", result.precision},
                      {"rounds", {{"inputs", name(result.input)}, {"results", name(result.result)}}},
                      {"draws", result.draws},
                      {"seed", result.seed},
                      {"prompts", nlohmann::json::array()},
                      {"places", nlohmann::json::array()},
                      {"derivation", nlohmann::json::array()},
                      {"seconds", result.seconds}};
  for (const auto& [id, tokens] : result.prompts) json["prompts"].push_back({{"id", id}, {"tokens", tokens}});
  for (const PlaceBound& place : result.places) json["places"].push_back(place_json(place));
  for (const Step& step : derivation(result))
    json["derivation"].push_back({{"kind", step.kind}, {"text", step.text}});
  if (result.top1) json["top1"] = place_json(*result.top1);
  if (result.kl) json["kl"] = place_json(*result.kl);
  return json;
}

}  // namespace greta::report

#include "experiment/repeat.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <tuple>

#include "experiment/program.h"
#include "experiment/run_cause.h"
#include "record/matrix.h"

namespace greta {
namespace {

/// How a cell is recorded once more: as it was, or with threads that meet more often, which changes nothing
/// but when each of them gets to its part.
struct Repetition {
  bool meeting = false;
  RunCause cause = RunCause::not_repeatable;  // of other bits
  Text how;
};

const std::array kRepetitions{
    Repetition{false, RunCause::not_repeatable, {"once more", "otra vez"}},
    Repetition{true,
               RunCause::missing_barrier,
               {"once more, the threads meeting a second time before each op",
                "otra vez, esperándose los hilos una segunda vez antes de cada operación"}},
    Repetition{false, RunCause::not_repeatable, {"once more", "otra vez"}}};

using Place = std::tuple<std::string, int, std::string, std::vector<int64_t>>;

Place place_of(const Event& event) { return {event.phase, event.layer, event.stage, event.positions}; }

/// The cell again; nullopt where it is none of the matrix.
std::optional<MatrixRequest> cell_of(const MatrixRequest& matrix, const CellKey& key) {
  MatrixRequest one = matrix;
  std::erase_if(one.experiments, [&](const Experiment& e) { return e.name != key.experiment; });
  std::erase_if(one.prompts, [&](const Prompt& p) { return p.id != key.prompt; });
  if (one.experiments.size() != 1 || one.prompts.size() != 1) return std::nullopt;
  // What the slot of decode0 holds before it depends on the prompt's place in the matrix.
  const auto place = std::ranges::find(matrix.prompts, key.prompt, &Prompt::id) - matrix.prompts.begin();
  if (decode0_row(one, 0) != decode0_row(matrix, static_cast<size_t>(place)))
    one.prompts = {matrix.prompts.begin(), matrix.prompts.begin() + place + 1};
  return one;
}

/// Stages of the cell that hold other bits, in the order of recording.
std::vector<const Event*> differing(const Bundle& recorded, const Bundle& again, const CellKey& key) {
  std::map<Place, std::string_view> hashes;
  for (const Event& event : again.events) {
    if (event.key() == key) hashes[place_of(event)] = event.hash;
  }
  std::vector<const Event*> others;
  for (const Event& event : recorded.events) {
    if (event.key() != key || !stage_from_name(event.stage)) continue;
    const auto it = hashes.find(place_of(event));
    if (it == hashes.end() || it->second != event.hash) others.push_back(&event);
  }
  return others;
}

Finding race_of(const Repetition& repetition, const Event& first, const CellKey& key, size_t differing,
                const Finding& convicted) {
  Finding finding;
  finding.phase = only(phase_of(first.seen()));
  finding.layer = first.layer;
  finding.stage = *stage_from_name(first.stage);
  finding.cells = {key};
  finding.cause = Cause::named;
  finding.family = CauseFamily::plan;
  finding.best = name(repetition.cause);
  finding.title = what(repetition.cause);
  finding.noise_ratio = convicted.noise_ratio;
  const Deviation where{.phase = first.phase,
                        .length = first.positions.back() + 1,
                        .layer = first.layer,
                        .position = first.positions.front(),
                        .what = first.stage};
  finding.difference = {
      finding.best,
      {{fmt::format("{} was recorded {}: {} of its recordings hold other bits, {} of layer {} in {} first.",
                    name(key), repetition.how.en, differing, first.stage, first.layer, first.phase),
        fmt::format(
            "{} se grabó {}: {} de sus grabaciones tienen otros bits, {} de la capa {} en {} la primera.",
            name(key), repetition.how.es, differing, first.stage, first.layer, first.phase)}},
      where};
  return finding;
}

/// A computation that reproduces one of several outcomes is not the cause. What an op was seen to read stays.
void withdraw_name(Finding& finding, bool differs) {
  if (finding.best == "operand_read") return;
  finding.cause = Cause::unexplained;
  finding.family = CauseFamily::none;
  finding.title =
      differs ? Text{"computed anew it is wrong in another way", "calculada de nuevo, falla de otra manera"}
              : Text{"wrong in a run that does not repeat", "errónea en una ejecución que no se repite"};
}

}  // namespace

std::vector<Finding> hold_against_repetition(Engine& engine, const MatrixRequest& matrix,
                                             const Bundle& recorded, std::vector<Finding> findings,
                                             const std::function<void()>& step) {
  if (findings.empty() || findings.front().cells.empty()) return findings;
  const CellKey key = findings.front().cells.front();
  const auto request = cell_of(matrix, key);
  if (!request) return findings;
  Bundle first;
  const Bundle* expected = key.experiment == matrix.experiments.front().name ? &recorded : nullptr;
  for (const Repetition& repetition : kRepetitions) {
    step();
    MatrixRequest anew = *request;
    if (repetition.meeting) anew.change = then({.edit = meet_always}, anew.change);
    Bundle again = record_matrix(engine, anew);
    // After other experiments' steps buffers held something else, which is no race.
    if (expected == nullptr) {
      first = std::move(again);
      expected = &first;
      continue;
    }
    const std::vector<const Event*> others = differing(*expected, again, key);
    if (others.empty()) continue;
    std::set<At> places;
    for (const Event* event : others) places.insert({event->layer, *stage_from_name(event->stage)});
    Finding race = race_of(repetition, *others.front(), key, others.size(), findings.front());
    for (Finding& finding : findings) withdraw_name(finding, places.contains({finding.layer, finding.stage}));
    findings.insert(findings.begin(), std::move(race));
    break;
  }
  return findings;
}

bool is_repeatable(const std::vector<Finding>& findings) {
  return findings.empty() || std::ranges::none_of(kRepetitions, [&](const Repetition& repetition) {
           return findings.front().best == name(repetition.cause);
         });
}

}  // namespace greta

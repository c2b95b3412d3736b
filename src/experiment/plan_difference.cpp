#include "experiment/plan_difference.h"

#include <fmt/format.h>

#include <algorithm>

namespace greta {
namespace {

constexpr int kRepeats = 3;   // a race need not happen
constexpr int kMeetings = 8;  // and must not, where it is to be said that meetings prevent it

bool is_before_cache(Stage stage) { return stage < Stage::kv_write; }

/// A stage that some op makes fused with others, and the kernel.
struct FusedStage {
  Stage stage;
  std::string kernel;
};

class Search {
 public:
  Search(const Program& program, const PlanTrial& trial, const std::function<void(const std::string&)>& step)
      : trial_(trial),
        step_(step),
        plan_(program.plan(trial.phase, trial.phase == Phase::decode ? 1 : 2, true, {})),
        last_layer_(static_cast<int>(program.engine().model().config.n_layer) - 1) {}

  std::vector<Finding> findings() {
    step_("the unrecorded program again");
    const auto again = differs_within(kRepeats, {});
    if (!again) return {not_repeatable()};
    if (again->what == kLostCount) return {lost_finding(*again, phases())};
    step_("the recorded program, in buffers that held something else");
    if (const auto held = first_deviation(trial_.recorded, trial_.run(as_recorded(), true)))
      return {unused_is_read(*held)};
    step_("the unrecorded program, all threads meeting after every op");
    if (!differs_within(kMeetings, {.edit = meet_always})) return {race()};
    std::vector<Finding> found;
    for (const FusedStage& fused : fused_stages()) {
      step_(fmt::format("{} fused, and nothing else", name(fused.stage)));
      const auto deviation = differs({.edit = [&](PlanEdit& edit) {
        unfuse_but(edit, [&](Stage stage) { return stage == fused.stage; });
        meet_always(edit);
      }});
      if (deviation) add_fused(fused, *deviation, found);
    }
    if (found.empty()) found.push_back(unknown());
    return found;
  }

 private:
  std::optional<Deviation> differs(const Making& making) const {
    return first_deviation(trial_.recorded, trial_.run(making, false));
  }

  std::optional<Deviation> differs_within(int runs, const Making& making) const {
    for (int run = 0; run < runs; ++run) {
      if (auto deviation = differs(making)) return deviation;
    }
    return std::nullopt;
  }

  Finding not_repeatable() const {
    return difference_finding(phases(), trial_.first, RunCause::not_repeatable,
                              what(RunCause::not_repeatable),
                              {first_told(trial_.first),
                               {fmt::format("{} more runs gave what was recorded.", kRepeats),
                                fmt::format("Otras {} ejecuciones dieron lo registrado.", kRepeats)}});
  }

  Phases phases() const { return only(trial_.phase); }

  std::vector<FusedStage> fused_stages() const {
    std::vector<FusedStage> stages;
    for (const Op& op : plan_.ops()) {
      const auto* fused = std::get_if<FusedCall>(&op.call);
      if (fused == nullptr || !op.makes) continue;
      const bool known = std::any_of(stages.begin(), stages.end(),
                                     [&](const FusedStage& other) { return other.stage == *op.makes; });
      if (!known) stages.push_back({*op.makes, fused->call.kernel->name});
    }
    return stages;
  }

  /// The layer whose stage shows first at `first`: a cache shows what its own layer made before it, and what
  /// the layer before it left.
  int layer_of(Stage stage, const Deviation& first) const {
    if (is_outside_layers(stage)) return kNoLayer;
    if (first.layer == kNoLayer) return last_layer_;
    return is_before_cache(stage) ? first.layer : std::max(0, first.layer - 1);
  }

  static Text first_told(const Deviation& first) {
    const Text where = told_first(first);
    return {"The program that runs unrecorded was held against the recorded one, which is judged: " +
                where.en + ".",
            "El programa que se ejecuta sin registrar se contrastó con el registrado, que es el juzgado: " +
                where.es + "."};
  }

  void add_fused(const FusedStage& fused, const Deviation& first, std::vector<Finding>& found) const {
    const Text title{
        fmt::format("the fused kernel `{}` does not compute what the ops compute that it stands for",
                    fused.kernel),
        fmt::format("el kernel fusionado `{}` no calcula lo mismo que las operaciones a las que sustituye",
                    fused.kernel)};
    const auto same =
        std::find_if(found.begin(), found.end(), [&](const Finding& f) { return f.title == title; });
    if (same != found.end()) {
      same->difference->told.push_back(
          {fmt::format("The same kernel makes {} differ, too.", name(fused.stage)),
           fmt::format("El mismo kernel también hace diferir {}.", name(fused.stage))});
      return;
    }
    Finding finding = difference_finding(
        phases(), first, RunCause::fused_kernel, title,
        {first_told(first),
         {"With it put apart into its ops the difference goes; with it fused and all others apart it stays.",
          "Con él descompuesto en sus operaciones la diferencia desaparece; con él fusionado y todos los "
          "demás "
          "descompuestos se mantiene."}});
    finding.layer = layer_of(fused.stage, first);
    finding.stage = fused.stage;
    found.push_back(std::move(finding));
  }

  Finding unused_is_read(const Deviation& held) const {
    const Text where = told_first(held);
    return difference_finding(
        phases(), trial_.first, RunCause::unused_is_read,
        {"something is read that no op of the block has written: what a buffer or a slot held before",
         "se lee algo que ninguna operación del bloque ha escrito: lo que un búfer o una posición contenía "
         "antes"},
        {first_told(trial_.first),
         {"So does the recorded program, op by op, once its buffers hold something else: " + where.en + ".",
          "También difiere el programa registrado, operación a operación, cuando sus búferes contienen otra "
          "cosa: " +
              where.es + "."}});
  }

  /// Ops after which the threads must meet: with meetings after all others it still differs, with meetings
  /// after these alone it never does. Where there are none it is some race, perhaps within an op: to meet
  /// changes when every thread runs what.
  Finding race() const {
    std::vector<const Op*> needed;
    for (const Op* op : labelled_ops()) {
      const std::string label = label_of(*op);
      step_(fmt::format("all threads meeting after every op but {}", label));
      if (differs_within(kRepeats, meeting_after([&](const std::string& other) { return other != label; })))
        needed.push_back(op);
    }
    const auto is_needed = [&](const std::string& label) {
      return std::ranges::any_of(needed, [&](const Op* op) { return label_of(*op) == label; });
    };
    if (needed.empty() || differs_within(kMeetings, meeting_after(is_needed))) return some_race();
    std::vector<std::string> labels;
    for (const Op* op : needed) labels.push_back(label_of(*op));
    const std::string list = fmt::format("{}", fmt::join(labels, ", "));
    Finding finding = difference_finding(
        phases(), trial_.first, RunCause::missing_barrier,
        {fmt::format("threads read what {} writes before all of them have written it: no barrier", list),
         fmt::format("hay hilos que leen lo que escribe {} antes de que todos lo hayan escrito: falta una "
                     "barrera",
                     list)},
        {first_told(trial_.first),
         {fmt::format("With a meeting of all threads after {} alone it goes, in {} runs; with meetings after "
                      "all other ops it stays.",
                      list, kMeetings),
          fmt::format(
              "Si todos los hilos se esperan solo tras {} desaparece, en {} ejecuciones; si se esperan "
              "tras todas las demás se mantiene.",
              list, kMeetings)}});
    if (needed.front()->makes) {
      finding.stage = *needed.front()->makes;
      finding.layer = layer_of(finding.stage, trial_.first);
    }
    return finding;
  }

  Finding some_race() const {
    return difference_finding(
        phases(), trial_.first, RunCause::not_repeatable, what(RunCause::not_repeatable),
        {first_told(trial_.first),
         {fmt::format("With a meeting of all threads after every op it did not show in {} runs: a barrier is "
                      "missing, or threads of one op share what each must have alone.",
                      kMeetings),
          fmt::format(
              "Si todos los hilos se esperan tras cada operación no apareció en {} ejecuciones: falta "
              "una barrera, o los hilos de una operación comparten lo que cada uno debe tener "
              "aparte.",
              kMeetings)}});
  }

  /// The first of each label.
  std::vector<const Op*> labelled_ops() const {
    std::vector<const Op*> first;
    for (const Op& op : plan_.ops()) {
      const std::string label = label_of(op);
      const bool known = std::ranges::any_of(first, [&](const Op* f) { return label_of(*f) == label; });
      if (!label.empty() && !known) first.push_back(&op);
    }
    return first;
  }

  static Making meeting_after(std::function<bool(const std::string& label)> wanted) {
    return {.edit = [wanted = std::move(wanted)](PlanEdit& edit) {
      meet_after(edit, [&](const Op& op) { return wanted(label_of(op)); });
    }};
  }

  Finding unknown() const {
    return difference_finding(
        phases(), trial_.first, RunCause::unrecorded_program,
        {"the program that runs unrecorded does not compute what the recorded one computes",
         "el programa que se ejecuta sin registrar no calcula lo mismo que el registrado"},
        {first_told(trial_.first),
         {"No fused op does it alone, nor does a barrier that is missing.",
          "Ninguna operación fusionada lo causa por sí sola, ni tampoco la falta de una barrera."}});
  }

  const PlanTrial& trial_;
  const std::function<void(const std::string&)>& step_;
  const Plan plan_;
  const int last_layer_;
};

}  // namespace

Text told_first(const Deviation& first) {
  const std::string where = place(first) + ": " + values(first);
  return {"first difference at " + where, "primera diferencia en " + where};
}

Finding difference_finding(Phases phase, const Deviation& first, RunCause cause, Text title,
                           std::vector<Text> told) {
  Finding finding;
  finding.phase = phase;
  finding.layer = first.layer;
  finding.stage = first.layer == kNoLayer ? Stage::logits : Stage::kv_write;
  finding.cause = Cause::named;
  finding.family = CauseFamily::plan;
  finding.best = name(cause);
  finding.title = std::move(title);
  finding.difference = {finding.best, std::move(told), first};
  return finding;
}

Finding lost_finding(const Deviation& lost, Phases phase) {
  const auto expected = static_cast<int64_t>(lost.expected), observed = static_cast<int64_t>(lost.observed);
  Finding finding =
      difference_finding(phase, lost, RunCause::lost_position,
                         {fmt::format("after the token at position {} the cache counts {} positions, not {}",
                                      lost.position, observed, expected),
                          fmt::format("tras el token de la posición {} la caché cuenta {} posiciones, no {}",
                                      lost.position, observed, expected)},
                         {{"What comes next is written and read at a wrong position.",
                           "Lo que sigue se escribe y se lee en una posición equivocada."}});
  finding.stage = Stage::kv_write;
  finding.layer = 0;
  return finding;
}

std::vector<Finding> why_plan_differs(const Program& program, const PlanTrial& trial,
                                      const std::function<void(const std::string& label)>& step) {
  if (trial.first.what == kLostCount) return {lost_finding(trial.first, only(trial.phase))};
  return Search(program, trial, step).findings();
}

}  // namespace greta

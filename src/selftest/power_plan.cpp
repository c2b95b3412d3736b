#include "selftest/power_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <random>
#include <set>

#include "model/prompt.h"

namespace greta {
namespace {

struct CleanText {
  const char* id;
  size_t tokens;  // the text is cut to these
  const char* text;
};

// Each longer than it is cut to, with any common tokenizer.
constexpr std::array<CleanText, 8> kCleanTexts{{
    {"c2_two", 2, "Once upon a time"},
    {"c15_spanish", 15,
     "El viejo puerto de La Boca se despierta antes que el sol, y el olor del café sale de los bares."},
    {"c16_code", 16, "for (int i = 0; i < n; ++i) {\n  sum += values[i] * weights[i];\n}\nreturn sum;\n"},
    {"c17_digits", 17, "3.14159265358979323846264338327950288419716939937510"},
    {"c31_question", 31,
     "What is the difference between a prefill and a decode step of a language model, and why should both "
     "of them give the same result for the same tokens at the same positions?"},
    {"c32_list", 32,
     "Colours: red, green, blue, yellow, orange, purple, black, white, grey, brown, pink, cyan, magenta, "
     "violet, indigo, turquoise, gold, silver, and so on."},
    {"c33_repeated", 33,
     "again again again again again again again again again again again again again again again again "
     "again again again again again again again again again again again again again again again again "
     "again again again again again again again again"},
    {"c65_story", 65,
     "The night train left the station at a quarter past eleven, ten minutes late, with nine passengers, "
     "two dogs and a crate of oranges on board. Nobody spoke. Outside, the river kept pace with the "
     "windows for a while, then turned away towards the mountains, and the lamps of the last village went "
     "out one after another until only the signal at the bridge was left, green and very small."},
}};

bool has(const Fault& fault, const std::string& part) { return fault.name.find(part) != std::string::npos; }

/// History is in the cache only when decode runs: the prompts of a power test fit one prefill block.
bool can_act(const Fault& fault, Phase phase) {
  // The self-test runs on this machine's own routes.
  if (!fault.make || fault.needs == Needs::matrix_unit) return false;
  return !(fault.needs == Needs::several_rows && phase == Phase::decode) &&
         !(fault.needs == Needs::history && phase == Phase::prefill);
}

/// One of each class; not the head, whose judgement takes ten times as long, where the class has another.
std::vector<PlannedFault> one_of_each_class(const std::vector<PlannedFault>& all) {
  std::vector<PlannedFault> some;
  for (const PlannedFault& planned : all) {
    const auto same = std::find_if(some.begin(), some.end(), [&](const PlannedFault& p) {
      return p.fault->fault_class == planned.fault->fault_class;
    });
    if (same == some.end()) {
      some.push_back(planned);
    } else if (same->fault->stage == Stage::logits && planned.fault->stage != Stage::logits) {
      *same = planned;
    } else if (same->fault == planned.fault && some.size() % 2 == 0) {
      *same = planned;  // decode for every other class
    }
  }
  return some;
}

std::vector<At> places_of(const FaultSpec& spec) {
  std::vector<At> places{{spec.layer.value_or(kNoLayer), spec.fault->stage}};
  if (spec.fault->also_stage) places.push_back({spec.layer.value_or(kNoLayer), *spec.fault->also_stage});
  return places;
}

}  // namespace

std::string PlannedFault::text(int n_layer, int further) const {
  std::string text = fmt::format("{}@{}", fault->name, name(phase));
  if (is_outside_layers(fault->stage)) return text;
  return text + fmt::format(":{}", fault->stage == Stage::x_in ? 0 : (layer + further) % n_layer);
}

std::vector<PlannedFault> planned_faults(int n_layer, const std::string& only, bool quick,
                                         const Model* model) {
  std::vector<PlannedFault> all;
  int index = 0;
  for (const Fault& fault : faults()) {
    for (const Phase phase : {Phase::prefill, Phase::decode}) {
      ++index;  // a fault keeps its layer, whatever else is chosen
      if (model != nullptr && !suits(fault, *model)) continue;
      if (has(fault, only) && can_act(fault, phase)) all.push_back({&fault, phase, index * 7 % n_layer});
    }
  }
  return quick ? one_of_each_class(all) : all;
}

std::vector<std::vector<FaultSpec>> stacked_faults(int n_layer, const std::string& only, int pairs,
                                                   const std::function<bool(const FaultSpec&)>& can_have,
                                                   const Model* model) {
  const std::vector<PlannedFault> all = planned_faults(n_layer, only, false, model);
  std::vector<std::vector<FaultSpec>> stacks;
  if (all.empty()) return stacks;
  std::mt19937 random(31);  // its sequence is the standard's, that of the library's distributions is not
  const int runs = pairs + pairs / 2;
  for (int tries = 100 * runs; std::ssize(stacks) < runs && tries > 0; --tries) {
    const size_t size = std::ssize(stacks) < pairs ? 2 : 3;
    std::vector<FaultSpec> specs;
    std::set<At> taken;
    for (int draws = 0; specs.size() < size && draws < 20; ++draws) {
      PlannedFault planned = all[random() % all.size()];
      planned.layer = static_cast<int>(random() % static_cast<unsigned>(n_layer));
      FaultSpec spec = parse_fault(planned.text(n_layer), n_layer);
      const std::vector<At> places = places_of(spec);
      if (std::any_of(places.begin(), places.end(), [&](At p) { return taken.contains(p); })) continue;
      if (!can_have(spec)) continue;
      taken.insert(places.begin(), places.end());
      specs.push_back(std::move(spec));
    }
    if (specs.size() == size) stacks.push_back(std::move(specs));
  }
  return stacks;
}

std::vector<Prompt> power_prompts(const Model& model) {
  const Tokenizer tokenizer = Tokenizer::from(model.file);
  std::vector<Prompt> prompts;
  for (const char* name : {"p0_short", "p4_sys", "p5_ba"})
    prompts.push_back(encoded(load_prompt(name, model.file), tokenizer));
  return prompts;
}

std::vector<Prompt> clean_prompts(const Model& model, bool quick) {
  const Tokenizer tokenizer = Tokenizer::from(model.file);
  std::vector<Prompt> prompts;
  for (const std::string_view name : built_in_prompts())
    prompts.push_back(encoded(load_prompt(std::string(name), model.file), tokenizer));
  if (quick) prompts.resize(1);
  for (const CleanText& text : kCleanTexts) {
    if (quick && text.tokens != 16 && text.tokens != 33) continue;
    Prompt prompt = encoded({text.id, text.text}, tokenizer);
    prompt.tokens.resize(std::min(prompt.tokens.size(), text.tokens));
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

}  // namespace greta

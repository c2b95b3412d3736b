#include "report/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "io/json_fields.h"
#include "report/html.h"
#include "report/noise_map.h"
#include "report/page_files.h"
#include "report/page_words.h"
#include "report/writer.h"

namespace greta::report {
namespace {

/// Both languages; the style shows one.
std::string both(std::string_view en, std::string_view es) {
  if (en == es) return std::string(en);
  return fmt::format("<span class=\"en\" lang=\"en\">{}</span><span class=\"es\" lang=\"es\">{}</span>", en,
                     es);
}

std::string words(Word word) {
  const WordText& text = page_word(word);
  return both(html_words(text.en), html_words(text.es));
}

/// A colour of the map: none where nothing was judged.
std::string_view heat(std::optional<double> ratio) {
  if (!ratio) return "u";
  const auto* step =
      std::find_if(std::begin(kHeat), std::end(kHeat), [&](const Heat& heat) { return *ratio <= heat.most; });
  return step == std::end(kHeat) ? "c9" : step->style;
}

std::string mark(std::optional<double> ratio) {
  return ratio && !(*ratio <= 1) ? std::string(1, noise_mark(*ratio)) : "";
}

/// What every map has a column for: stages that all models have, recorded or not, and those recorded.
std::vector<Stage> columns_of(const NoiseMap& prefill, const NoiseMap& decode) {
  std::set<Stage> stages(prefill.stages.begin(), prefill.stages.end());
  stages.insert(decode.stages.begin(), decode.stages.end());
  for (const StageInfo& info : kStageTable) {
    if (!is_optional(info.stage) && !is_outside_layers(info.stage)) stages.insert(info.stage);
  }
  return {stages.begin(), stages.end()};
}

std::optional<double> ratio_at(const NoiseMap& map, int layer, Stage stage) {
  const auto row = std::find(map.layers.begin(), map.layers.end(), layer);
  const auto column = std::find(map.stages.begin(), map.stages.end(), stage);
  if (row == map.layers.end() || column == map.stages.end()) return std::nullopt;
  return map.ratios[static_cast<size_t>(row - map.layers.begin())]
                   [static_cast<size_t>(column - map.stages.begin())];
}

std::string outside(const NoiseMap& map, size_t columns) {
  std::string cells;
  const std::vector<Stage> stages = {Stage::final_norm, Stage::logits};
  for (size_t i = 0; i < stages.size(); ++i) {
    std::optional<double> ratio;
    for (const auto& [stage, value] : map.outside) {
      if (stage == stages[i]) ratio = value;
    }
    const size_t wide = i == 0 ? columns / 2 : columns - columns / 2;
    cells += fmt::format("<td colspan=\"{}\" class=\"{}\">{} {}</td>", wide, heat(ratio), name(stages[i]),
                         mark(ratio));
  }
  return fmt::format("<tfoot><tr><th></th>{}</tr></tfoot>", cells);
}

std::string map_figure(const NoiseMap& map, const std::vector<int>& layers,
                       const std::vector<Stage>& stages) {
  std::string heads, rows;
  for (const Stage stage : stages) heads += fmt::format("<th><span>{}</span></th>", name(stage));
  for (const int layer : layers) {
    rows += fmt::format("<tr><th>{}</th>", layer);
    for (const Stage stage : stages) {
      const std::optional<double> ratio = ratio_at(map, layer, stage);
      rows += fmt::format("<td class=\"{}\">{}</td>", heat(ratio), mark(ratio));
    }
    rows += "</tr>\n";
  }
  return fmt::format(
      "<figure><figcaption>{0}</figcaption><table class=\"map\" data-phase=\"{0}\" style=\"--rows:{1}\">"
      "<thead><tr><th></th>{2}</tr></thead>\n<tbody>\n{3}</tbody>{4}</table></figure>\n",
      name(map.phase), layers.size(), heads, rows, outside(map, stages.size()));
}

std::string legend() {
  std::string text;
  for (const Heat& heat : kHeat) text += fmt::format("<li class=\"{}\">{}</li>", heat.style, heat.label);
  return fmt::format(
      "<ul class=\"legend\" aria-label=\"noise ratio\">{}<li class=\"c9\">&gt; 10^6</li><li "
      "class=\"u\">{}</li></ul>",
      text, words(Word::unmeasured));
}

std::string maps(const Verdict& verdict) {
  const NoiseMap prefill = noise_map(verdict, Phase::prefill), decode = noise_map(verdict, Phase::decode);
  const std::vector<Stage> stages = columns_of(prefill, decode);
  return fmt::format(
      "<section id=\"maps\"><h2>{}</h2><p class=\"dim\">{}</p><div class=\"tools js\"></div>{}"
      "<div class=\"pair\">{}{}<aside id=\"detail\" class=\"js\" tabindex=\"-1\"></aside></div></section>\n",
      words(Word::map), words(Word::map_help), legend(), map_figure(prefill, verdict.layers, stages),
      map_figure(decode, verdict.layers, stages));
}

/// The same of both writers.
template <class Make>
std::string twice(const Report& report, Make make) {
  return both(make(Writer(report, Language::english)), make(Writer(report, Language::spanish)));
}

template <class Make>
std::string twice_block(const Report& report, Make make) {
  return fmt::format("<div class=\"en\" lang=\"en\">{}</div><div class=\"es\" lang=\"es\">{}</div>\n",
                     make(Writer(report, Language::english)), make(Writer(report, Language::spanish)));
}

Tone tone_of_status(RunStatus status) {
  return status == RunStatus::fault ? Tone::bad : is_clean(status) ? Tone::good : Tone::unsure;
}

std::string tone_class(RunStatus status) {
  return status == RunStatus::fault ? "bad" : is_clean(status) ? "good" : "unsure";
}

/// What to mend first: the place, its cause; or the next step.
std::string first_to_fix(const Report& report) {
  const auto& groups = report.facts.findings;
  if (groups.empty()) {
    return fmt::format("<h2>{}</h2><p>{}</p>",
                       twice(report, [](const Writer& writer) { return writer.say(Phrase::next_step); }),
                       twice(report, [](const Writer& writer) {
                         const std::vector<std::string> steps = writer.next_steps();
                         return steps.empty() ? std::string() : html_words(steps.front());
                       }));
  }
  const FindingGroup& first = groups.front();
  const auto place = [&](const Writer& writer) { return html_words(writer.place(first)); };
  return fmt::format("<h2>{}</h2><p class=\"fix\">{}</p>{}", words(Word::fix_first), twice(report, place),
                     twice_block(report, [&](const Writer& writer) {
                       const std::vector<std::string> notes = writer.finding_brief(first);
                       std::string rest;
                       for (size_t i = 1; i < notes.size(); ++i)
                         rest += fmt::format("<li>{}</li>", html_words(notes[i]));
                       return fmt::format("<p>{}</p><ul>{}</ul>", html_words(notes.front()), rest);
                     }));
}

/// How much of the map was measured, and of what was recorded judged; what was not is grey.
std::string coverage(const Report& report) {
  const Verdict& verdict = report.verdict;
  const NoiseMap prefill = noise_map(verdict, Phase::prefill), decode = noise_map(verdict, Phase::decode);
  const std::vector<Stage> stages = columns_of(prefill, decode);
  const size_t places = 2 * (stages.size() * verdict.layers.size() + 2), measured = verdict.noise.size();
  const double percent =
      100.0 * static_cast<double>(measured) / static_cast<double>(std::max<size_t>(1, places));
  const size_t left = places - std::min(places, measured);
  const std::string grey = left == 0 ? ""
                                     : fmt::format("<p><b class=\"grey\">UNMEASURED {}</b> {}</p>", left,
                                                   words(Word::unmeasured_places));
  const std::string more = twice_block(report, [](const Writer& writer) {
    std::string lines;
    for (const std::vector<std::string>& some :
         {writer.coverage(), writer.not_exercised(), writer.exercised()}) {
      for (const std::string& line : some) lines += fmt::format("<li>{}</li>", html_words(line));
    }
    return fmt::format("<ul>{}</ul>", lines);
  });
  return fmt::format(
      "<div class=\"meter\" role=\"img\" aria-label=\"{0:.1f} %\"><i style=\"width:{0:.3f}%\"></i></div>"
      "<p><b>{1}</b> {2}</p>{3}<details><summary><b>{4:.1f} %</b> {5}</summary>{6}</details>",
      percent, measured, words(Word::measured_places), grey, verdict.coverage.percent(), words(Word::judged),
      more);
}

std::string joined_texts(const std::vector<std::string>& texts, std::string_view between) {
  std::vector<std::string> said;
  for (const std::string& text : texts) {
    if (!text.empty()) said.push_back(html_text(text));
  }
  return fmt::format("{}", fmt::join(said, between));
}

/// "transformers 5.24.0 · cpu · avx512", as far as it is known.
std::string engine_line(const Verdict& verdict) {
  const std::string engine =
      verdict.engine + (verdict.engine_version.empty() ? "" : " " + verdict.engine_version);
  return joined_texts({engine, verdict.device, verdict.isa}, " · ");
}

std::string hero(const Report& report) {
  const Verdict& verdict = report.verdict;
  return fmt::format(
      "<section id=\"verdict\" class=\"{}\"><div><p class=\"badge\">{}</p><h1>{}</h1><p "
      "class=\"dim\">{}</p><p "
      "class=\"lead\">{}</p></div>"
      "<div class=\"cards\"><div class=\"card\">{}</div><div "
      "class=\"card\"><h2>{}</h2>{}</div></div></section>\n",
      tone_class(verdict.status),
      twice(report, [&](const Writer& writer) { return html_text(writer.word(name(verdict.status))); }),
      html_text(verdict.model_name.empty() ? verdict.model_file : verdict.model_name), engine_line(verdict),
      twice(report, [](const Writer& writer) { return html_words(writer.headline()); }), first_to_fix(report),
      words(Word::coverage), coverage(report));
}

std::string findings(const Report& report) {
  const auto& groups = report.facts.findings;
  if (groups.empty()) return "";
  std::string list = twice_block(report, [&](const Writer& writer) {
    std::string cards;
    for (size_t i = 0; i < groups.size(); ++i) {
      const std::vector<std::string> notes = writer.finding(groups[i]);
      std::string lines;
      for (size_t j = 1; j < notes.size(); ++j) lines += fmt::format("<li>{}</li>", html_words(notes[j]));
      cards += fmt::format(
          "<article data-finding=\"{0}\"><h3><b>{0}</b> "
          "{1}</h3><p>{2}</p><details{3}><summary>{4}</summary><ul>{5}</ul>"
          "</details></article>\n",
          i + 1, html_words(writer.place(groups[i])), html_words(notes.front()), i == 0 ? " open" : "",
          html_words(writer.language == Language::english ? page_word(Word::evidence).en
                                                          : page_word(Word::evidence).es),
          lines);
    }
    return cards;
  });
  return fmt::format("<section id=\"findings\"><h2>{}</h2>{}</section>\n", words(Word::findings), list);
}

std::string first_difference(const Cell& cell) {
  if (!cell.has_first_difference) return "-";
  const std::string layer = cell.first_layer == kNoLayer ? "" : fmt::format("L{} ", cell.first_layer);
  return layer + std::string(name(cell.first_stage));
}

/// Of recordings in which nobody forced anything: there is no matrix to show.
Table recordings_table(const Writer& writer) {
  const auto head = [&](Phrase phrase) { return writer.say(phrase); };
  Table table{{{head(Phrase::column_prompt)},
               {head(Phrase::column_tokens), Align::right},
               {head(Phrase::column_verdict)},
               {head(Phrase::column_noise_ratio), Align::right},
               {head(Phrase::column_first_difference)},
               {head(Phrase::column_top1)}},
              {}};
  for (const Cell& cell : writer.verdict.cells) {
    table.rows.push_back({cell.key.prompt,
                          fmt::format("{}", cell.prompt_tokens),
                          {writer.word(name(cell.verdict)), tone_of_status(cell.verdict)},
                          brief(cell.max_noise_ratio),
                          first_difference(cell),
                          cell.logits_top1_agree ? writer.yes_no(*cell.logits_top1_agree) : "-"});
  }
  return table;
}

Table cells_table(const Writer& writer) {
  const auto head = [&](Phrase phrase) { return writer.say(phrase); };
  Table table{{{head(Phrase::column_experiment)},
               {head(Phrase::column_prompt)},
               {head(Phrase::column_tokens), Align::right},
               {head(Phrase::column_verdict)},
               {head(Phrase::column_noise_ratio), Align::right},
               {head(Phrase::column_first_difference)},
               {"Q MAE", Align::right},
               {"K MAE", Align::right},
               {"V MAE", Align::right},
               {"route"},
               {"force"},
               {"gemm"},
               {head(Phrase::column_top1)}},
              {}};
  for (const Cell& cell : writer.verdict.cells) {
    table.rows.push_back({cell.key.experiment,
                          cell.key.prompt,
                          fmt::format("{}", cell.prompt_tokens),
                          {writer.word(name(cell.verdict)), tone_of_status(cell.verdict)},
                          brief(cell.max_noise_ratio),
                          first_difference(cell),
                          mae_text(cell, cell.q.mae),
                          mae_text(cell, cell.k.mae),
                          mae_text(cell, cell.v.mae),
                          routes_used(cell),
                          route_forced(cell),
                          writer.yes_no(cell.force_gemm),
                          cell.logits_top1_agree ? writer.yes_no(*cell.logits_top1_agree) : "-"});
  }
  return table;
}

std::string experiments(const Report& report) {
  if (report.verdict.cells.empty()) return "";
  const bool routes = Writer(report, Language::english).has_routes();
  return fmt::format("<section id=\"experiments\"><h2>{}</h2>{}</section>\n",
                     words(routes ? Word::experiments : Word::prompts),
                     twice_block(report, [routes](const Writer& writer) {
                       return to_html({routes ? cells_table(writer) : recordings_table(writer),
                                       plain_list(writer.conclusion())});
                     }));
}

std::string whole_report(const Report& report) {
  return fmt::format("<section id=\"report\"><details><summary><h2>{}</h2></summary>{}</details></section>\n",
                     words(Word::whole), twice_block(report, [&](const Writer& writer) {
                       Document document = full_report(report, writer.language);
                       document.erase(document.begin());  // the title
                       return to_html(document);
                     }));
}

std::string footer(const Verdict& verdict) {
  const std::string command = verdict.command_line.empty()
                                  ? ""
                                  : fmt::format("<p><code>{}</code></p>", html_text(verdict.command_line));
  return fmt::format("<footer><p>{}</p>{}</footer>\n",
                     joined_texts({verdict.date, verdict.model_hash}, " · "), command);
}

/// Inside a script element: no < of a text can end it.
std::string script_json(const nlohmann::json& json) {
  std::string text;
  for (const char c : dump_json(json)) text += c == '<' ? std::string("\\u003c") : std::string(1, c);
  return text;
}

std::string shell(const std::string& title, const std::string& body, const nlohmann::json& data,
                  bool spanish) {
  constexpr const char* kPolicy =
      "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";
  const std::string languages =
      spanish ? "<label><input type=\"radio\" name=\"lang\" id=\"in-en\" checked>EN</label>"
                "<label><input type=\"radio\" name=\"lang\" id=\"in-es\">ES</label>"
              : "";
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light "
      "dark\">\n<title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n"
      "<header><a href=\"#verdict\" class=\"logo\">GRETA</a><nav>{}<button class=\"js\" id=\"theme\" "
      "type=\"button\" aria-label=\"theme\">◐</button></nav></header>\n<main>\n{}</main>\n"
      "<script type=\"application/json\" id=\"data\">{}</script>\n<script>\n{}</script>\n</body>\n</html>\n",
      kPolicy, html_text(title), kPageStyle, languages, body, script_json(data), kPageScript);
}

}  // namespace

std::string repro_script() { return std::string(kReproScript); }

std::string page(const Report& report) {
  const Verdict& verdict = report.verdict;
  const std::string title = fmt::format("{} {}", name(verdict.status),
                                        verdict.model_name.empty() ? verdict.model_file : verdict.model_name);
  nlohmann::json data = page_data(report);
  data["words"] = page_words_json();
  return shell("GRETA: " + title,
               hero(report) + maps(verdict) + findings(report) + experiments(report) + whole_report(report) +
                   footer(verdict),
               data, true);
}

std::string document_page(const std::string& title, const std::vector<Document>& languages,
                          const std::string& graphic) {
  std::string body = fmt::format("<h1>{}</h1>\n", html_text(title));
  if (!graphic.empty()) body += fmt::format("<figure class=\"wide\">{}</figure>\n", graphic);
  if (languages.size() == 1) {
    body += to_html(languages.front());
  } else {
    body += fmt::format("<div class=\"en\" lang=\"en\">{}</div><div class=\"es\" lang=\"es\">{}</div>\n",
                        to_html(languages.front()), to_html(languages.back()));
  }
  return shell("GRETA: " + title, "<section>" + body + "</section>", {{"words", page_words_json()}},
               languages.size() > 1);
}

}  // namespace greta::report

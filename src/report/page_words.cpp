#include "report/page_words.h"

#include <array>
#include <nlohmann/json.hpp>

namespace greta::report {
namespace {

// In the order of the enum (checked below).
constexpr std::array<WordText, static_cast<size_t>(Word::count_)> kWords{{
    {Word::fix_first, "fix_first", "Fix this first", "Lo primero que hay que corregir"},
    {Word::coverage, "coverage", "What was judged", "Qué se juzgó"},
    {Word::judged, "judged", "of what was recorded was judged", "de lo registrado se juzgó"},
    {Word::unmeasured, "unmeasured", "UNMEASURED", "SIN MEDIR"},
    {Word::measured_places, "measured_places", "places of the map measured", "lugares del mapa medidos"},
    {Word::unmeasured_places, "unmeasured_places", "places: grey on the map, and not vouched for",
     "lugares: grises en el mapa, y sin garantía"},
    {Word::map, "map", "Where the errors are", "Dónde están los errores"},
    {Word::map_help, "map_help",
     "Each field is a stage of a layer: its largest error against the fp64 oracle, in units of the rounding "
     "bound. Up to 1 is rounding. Click one, or use the arrow keys.",
     "Cada campo es una etapa de una capa: su mayor error frente al oráculo fp64, en unidades de la cota de "
     "redondeo. Hasta 1 es redondeo. Pulse un campo o use las flechas."},
    {Word::findings, "findings", "Findings, in execution order", "Hallazgos, en orden de ejecución"},
    {Word::evidence, "evidence", "Evidence", "Pruebas"},
    {Word::experiments, "experiments", "Experiments", "Experimentos"},
    {Word::prompts, "prompts", "Prompts", "Prompts"},
    {Word::whole, "whole", "The whole report", "El informe completo"},
    {Word::all_cells, "all_cells", "all cells, the worst of each", "todas las celdas, lo peor de cada una"},
    {Word::least, "least", "at least", "al menos"},
    {Word::search, "search", "filter tables and findings", "filtrar tablas y hallazgos"},
    {Word::stage, "stage", "stage", "etapa"},
    {Word::close, "close", "close", "cerrar"},
    {Word::not_judged, "not_judged", "UNMEASURED: not recorded, or not judged",
     "SIN MEDIR: no se registró o no se juzgó"},
    {Word::worst_of, "worst_of", "worst recording", "el peor registro"},
    {Word::ratio, "ratio", "noise ratio", "razón de ruido"},
    {Word::histogram, "histogram", "Errors of all elements, in units of the bound",
     "Errores de todos los elementos, en unidades de la cota"},
    {Word::of_bound, "of_bound", "× the bound", "× la cota"},
    {Word::rows_heads, "rows_heads", "Positions × heads", "Posiciones × cabezas"},
    {Word::row, "row", "position", "posición"},
    {Word::head, "head", "head", "cabeza"},
    {Word::layers_rows, "layers_rows", "Layers × positions", "Capas × posiciones"},
    {Word::layers_heads, "layers_heads", "Layers × heads", "Capas × cabezas"},
    {Word::values, "values", "Values beside the oracle's", "Valores junto a los del oráculo"},
    {Word::element, "element", "element", "elemento"},
    {Word::observed, "observed", "observed", "observado"},
    {Word::oracle, "oracle", "oracle", "oráculo"},
    {Word::bound, "bound", "bound", "cota"},
    {Word::kernel, "kernel", "kernel", "kernel"},
    {Word::route, "route", "route", "ruta"},
    {Word::arithmetic, "arithmetic", "arithmetic", "aritmética"},
    {Word::hypotheses, "hypotheses", "How much of the error each hypothesis explains",
     "Qué parte del error explica cada hipótesis"},
    {Word::intervention, "intervention", "With the oracle's values in its place",
     "Con los valores del oráculo en su lugar"},
    {Word::before, "before", "before", "antes"},
    {Word::after, "after", "after", "después"},
    {Word::logits, "logits", "logits", "logits"},
    {Word::removed, "removed", "the mismatch is gone", "la discrepancia desaparece"},
    {Word::not_removed, "not_removed", "the mismatch stays", "la discrepancia sigue"},
    {Word::by_cell, "by_cell", "prefill_last against decode0, by cell",
     "prefill_last frente a decode0, por celda"},
    {Word::found, "found", "finding", "hallazgo"},
}};

static_assert([] {
  for (size_t i = 0; i < kWords.size(); ++i) {
    if (static_cast<size_t>(kWords[i].word) != i) return false;
  }
  return true;
}());

}  // namespace

const WordText& page_word(Word word) { return kWords[static_cast<size_t>(word)]; }

nlohmann::json page_words_json() {
  nlohmann::json words = nlohmann::json::object();
  for (const WordText& word : kWords) words[word.key] = {word.en, word.es};
  return words;
}

}  // namespace greta::report

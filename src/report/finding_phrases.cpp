// What is said of a finding.

#include "report/phrase_table.h"

namespace greta::report {
namespace {

constexpr PhraseEntry kPhrases[] = {
    {Phrase::place_layer, "layer {0}", "capa {0}"},
    {Phrase::place_layers, "layers {0}", "capas {0}"},
    {Phrase::place_stage, "stage {0}", "etapa {0}"},
    {Phrase::place_stages, "stages {0}", "etapas {0}"},
    {Phrase::place_in, "{0} of {1}", "{0} de {1}"},
    {Phrase::place_phase, "phase {0}", "fase {0}"},
    {Phrase::finding_unexplained,
     "Cause: unexplained. None of the {0} hypotheses tried reproduces the output within rounding.",
     "Causa: sin explicar. Ninguna de las {0} hipótesis probadas reproduce la salida dentro del redondeo."},
    {Phrase::finding_best, "The best, {0}, explains {1} of the residual.",
     "La mejor, {0}, explica {1} del residuo."},
    {Phrase::finding_resembles,
     "It resembles this: {0} ({1}); that explains {2} of the residual and leaves errors of up to {3} times "
     "what rounding explains.",
     "Se parece a esto: {0} ({1}); explica {2} del residuo y deja errores de hasta {3} veces lo que explica "
     "el redondeo."},
    {Phrase::finding_one_row,
     "Cause: not named. This reproduces the output: {0} ({1}); but its number was estimated from the only "
     "row that is wrong, or from a few elements, and those always have one. Another prompt would tell.",
     "Causa: sin nombre. Esto reproduce la salida: {0} ({1}); pero su número se estimó con la única fila "
     "incorrecta, o con unos pocos elementos, y esos siempre tienen uno. Otro prompt lo aclararía."},
    {Phrase::finding_not_elsewhere,
     "Cause: not named. This reproduces the rows that its number was estimated from: {0} ({1}); in a row "
     "that was held out it does not.",
     "Causa: sin nombre. Esto reproduce las filas con las que se estimó su número: {0} ({1}); en una fila "
     "que se apartó, no."},
    {Phrase::finding_unexplained_none,
     "Cause: unexplained. No hypothesis applies to what was recorded of this stage.",
     "Causa: sin explicar. Ninguna hipótesis se aplica a lo registrado de esta etapa."},
    {Phrase::finding_not_sought,
     "Cause: unexplained. What explains this kind of stage elsewhere does not explain it here.",
     "Causa: sin explicar. Lo que explica este tipo de etapa en otros lugares no lo explica aquí."},
    {Phrase::finding_sought_in_some,
     "Not every hypothesis was tried in each of these layers (--causes all does).",
     "No se probaron todas las hipótesis en cada una de estas capas (--causes all lo hace)."},
    {Phrase::finding_ambiguous,
     "Cause not settled: {0} (hypotheses {1}, explained residual {2}, and {3}, {4}).",
     "Causa no determinada: {0} (hipótesis {1}, residuo explicado {2}, y {3}, {4})."},
    {Phrase::finding_separate,
     "More rows or another stage would separate the two: add prompts, longer and shorter (`--prompts`), and "
     "all layers (`--layers all`).",
     "Más filas u otra etapa distinguirían entre ambas: añadir prompts más largos y más cortos (`--prompts`) "
     "y todas las capas (`--layers all`)."},
    {Phrase::finding_hypothesis, "Cause: {0} (hypothesis {1}, explained residual {2}).",
     "Causa: {0} (hipótesis {1}, residuo explicado {2})."},
    {Phrase::finding_difference, "Cause: {0} ({1}).", "Causa: {0} ({1})."},
    {Phrase::finding_within,
     "With this error the oracle reproduces the output within rounding (noise ratio {0}).",
     "Con este error el oráculo reproduce la salida dentro del redondeo (razón de ruido {0})."},
    {Phrase::finding_by_arithmetic,
     "It was tried with {0}: of a kernel that is wrong wherever it runs no arithmetic can be inferred.",
     "Se ha probado con {0}: de un kernel que falla siempre no se puede inferir la aritmética."},
    {Phrase::finding_held_up, "Its number was estimated from other rows than the one that it was tested by.",
     "Su número se estimó con filas distintas de la que sirvió para comprobarlo."},
    {Phrase::finding_same_in, "The same explains {0}.", "Lo mismo explica {0}."},
    {Phrase::finding_one_kernel, "All of these are made by {0}.", "Todas ellas las hace {0}."},
    {Phrase::finding_no_rival, "No rival hypothesis was scored.", "No se evaluó ninguna hipótesis rival."},
    {Phrase::finding_runner_up, "Runner-up: {0} ({1}).", "Segunda hipótesis: {0} ({1})."},
    {Phrase::finding_ruled_out, "Also ruled out (explained residual): {0}.",
     "También descartadas (residuo explicado): {0}."},
    {Phrase::ruled_out_rest, "{0} others, none above {1}", "otras {0}, ninguna por encima de {1}"},
    {Phrase::ruled_out_rest_below, "{0} other hypotheses below 50 %",
     "otras {0} hipótesis por debajo del 50 %"},
    {Phrase::finding_all_clean, "Before it, all {0} stages judged in {1} are within rounding.",
     "Antes de ella, las {0} etapas juzgadas en {1} están dentro del redondeo."},
    {Phrase::finding_starts_here,
     "The fault starts here: what the stage is computed from ({0}) is within rounding (noise ratio {1}).",
     "El fallo empieza aquí: las entradas de la etapa ({0}) están dentro del redondeo (razón de ruido {1})."},
    {Phrase::finding_input_wrong,
     "Its input ({0}) is wrong too and has a finding of its own; this one is judged from the input as "
     "recorded.",
     "Su entrada ({0}) también es incorrecta y tiene su propio hallazgo; este se juzga a partir de la "
     "entrada registrada."},
    {Phrase::finding_pattern, "Wrong are: {0}.", "Son incorrectos: {0}."},
    {Phrase::finding_pattern_all,
     "Wrong are all rows that were judged, in all heads and (nearly) all elements.",
     "Son incorrectas todas las filas juzgadas, en todas las cabezas y (casi) todos los elementos."},
    {Phrase::finding_pattern_varies,
     "Which rows, heads and elements are wrong differs from place to place (verdict.json).",
     "Qué filas, cabezas y elementos son incorrectos varía según el lugar (verdict.json)."},
    {Phrase::finding_element,
     "Look at {0}, position {1}, element {2}: {3}, where the oracle has {4} (bound {5}).",
     "Por ejemplo: {0}, posición {1}, elemento {2}: {3}, donde el oráculo da {4} (cota {5})."},
    {Phrase::finding_gap,
     "Between {0} and {1}: {2} was not recorded, so the fault may lie in any stage of this span.",
     "Entre {0} y {1}: {2} no se registró, así que el fallo puede estar en cualquier etapa de ese tramo."},
    {Phrase::finding_gap_start,
     "Up to {0}: {1} was not recorded, so the fault may lie in any stage of this span.",
     "Hasta {0}: {1} no se registró, así que el fallo puede estar en cualquier etapa de ese tramo."},
    {Phrase::intervention_what, "the oracle's {0} in {1}", "{0} del oráculo en {1}"},
    {Phrase::finding_intervention,
     "Intervention: with {0} (layer {1}, {2}) the mismatch of the stage goes from {3} to {4}, of the logits "
     "from {5} to {6}: {7}.",
     "Intervención: con {0} (capa {1}, {2}) la discrepancia de la etapa pasa de {3} a {4} y la de los logits "
     "de {5} a {6}: {7}."},
    {Phrase::finding_intervention_no_layer,
     "Intervention: with {0} ({1}) the mismatch of the stage goes from {2} to {3}, of the logits from {4} to "
     "{5}: {6}.",
     "Intervención: con {0} ({1}) la discrepancia de la etapa pasa de {2} a {3} y la de los logits de {4} a "
     "{5}: {6}."},
    {Phrase::finding_interventions, "Confirmed so in {0} of the {1} places that it was tried in.",
     "Así confirmado en {0} de los {1} lugares en que se probó."},
    {Phrase::finding_no_intervention,
     "Not proved by an intervention: live runs have the matrix's prompts, and this was found on other "
     "tokens.",
     "Sin probar por intervención: las ejecuciones en vivo usan los prompts de la matriz, y esto se halló "
     "con "
     "otros tokens."},
    {Phrase::finding_runs_are_proof,
     "No intervention: no stage was replaced in a live run; the runs told of here are all the proof.",
     "Sin intervención: no se sustituyó ninguna etapa en vivo; las ejecuciones aquí descritas son toda la "
     "prueba."},
    {Phrase::finding_numbers,
     "Noise ratio against the oracle {1} (rounding allows 1); prefill against decode: MAE {0}.",
     "Razón de ruido frente al oráculo: {1} (el redondeo permite 1); prefill frente a decode: MAE {0}."},
    {Phrase::finding_ratio, "Noise ratio against the oracle {0} (rounding allows 1), alike in both phases.",
     "Razón de ruido frente al oráculo: {0} (el redondeo permite 1), igual en ambas fases."},
    {Phrase::finding_smallest, "Smallest run that shows it: `{0}`",
     "La ejecución más corta que lo muestra: `{0}`"},
    {Phrase::finding_noise_sides, "Against the fp64 oracle: prefill {0}, decode {1}.",
     "Frente al oráculo fp64: prefill {0}, decode {1}."},
    {Phrase::finding_cells, "Seen in {0}.", "Se observa en {0}."},
    {Phrase::finding_inputs_equal,
     "From its own recorded inputs the oracle gets something else: the stage itself is wrong.",
     "A partir de sus propias entradas registradas el oráculo obtiene otra cosa: lo que está mal es la "
     "propia "
     "etapa."},
    {Phrase::blind_prompts,
     "{0} could not show it: a prompt of one token is processed by prefill too as a block of S = 1.",
     "{0} no podía mostrarlo: un prompt de un solo token se procesa también en el prefill como un bloque de "
     "S = 1."},
    {Phrase::one_token_prompts,
     "{0} has one token: its prefill too is a block of S = 1, so it cannot show a fault that needs S > 1.",
     "{0} tiene un solo token: también su prefill es un bloque de S = 1, así que no puede mostrar un fallo "
     "que necesite "
     "S > 1."},
    {Phrase::same_last_token,
     "{0} have the same Q, K and V in layer 0, hence the same MAE: they end in the same token, and before "
     "RoPE nothing "
     "else enters there.",
     "{0} tienen los mismos Q, K y V en la capa 0 y, por tanto, el mismo MAE: terminan en el mismo token, y "
     "antes de "
     "RoPE no interviene nada más."},
};
static_assert(in_order(kPhrases, kFindingPhrases), "they must follow the order of Phrase");
static_assert(std::size(kPhrases) ==
              static_cast<size_t>(kOtherPhrases) - static_cast<size_t>(kFindingPhrases));

}  // namespace

std::span<const PhraseEntry> finding_phrases() { return kPhrases; }

}  // namespace greta::report

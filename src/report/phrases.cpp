#include "report/phrases.h"

#include "report/phrase_table.h"

namespace greta::report {
namespace {

constexpr PhraseEntry kVerdictPhrases[] = {
    {Phrase::title, "GRETA: decode against prefill, {0}", "GRETA: decode frente a prefill, {0}"},
    {Phrase::summary, "Summary", "Resumen"},
    {Phrase::method, "Method", "Método"},
    {Phrase::results, "Results", "Resultados"},
    {Phrase::conclusion, "Conclusion", "Conclusión"},
    {Phrase::next_step, "Next step", "Próximo paso"},
    {Phrase::heading_table, "MAE of prefill_last against decode0 (layer {0}, head 0)",
     "MAE de prefill_last frente a decode0 (capa {0}, cabeza 0)"},
    {Phrase::heading_norm, "B3.32: attn_norm of prefill_last against decode0 (layer {0})",
     "B3.32: attn_norm de prefill_last frente a decode0 (capa {0})"},
    {Phrase::heading_audit, "RMSNorm audit: {0}", "Auditoría de RMSNorm: {0}"},
    {Phrase::audit_line, "{0}: explained residual {1}", "{0}: residuo explicado {1}"},
    {Phrase::audit_winner, "{0}: explained residual {1}, the cause", "{0}: residuo explicado {1}, la causa"},
    {Phrase::heading_prompts, "Largest error against the oracle in units of its bound (rounding allows 1)",
     "Mayor error frente al oráculo en unidades de su cota (el redondeo permite 1)"},
    {Phrase::heading_findings, "Findings, in execution order", "Hallazgos, en orden de ejecución"},
    {Phrase::heading_cells, "Cells and their first difference", "Celdas y su primera diferencia"},
    {Phrase::heading_stages, "Stages, worst over layers and cells",
     "Etapas: lo peor de todas las capas y celdas"},
    {Phrase::heading_attestation, "What really ran", "Qué se ejecutó realmente"},
    {Phrase::heading_coverage, "Coverage", "Cobertura"},
    {Phrase::heading_map, "Map of noise ratios", "Mapa de razones de ruido"},
    {Phrase::heading_map_phase, "{0}: layers downwards, stages across (their names read downwards)",
     "{0}: capas hacia abajo, etapas a lo ancho (sus nombres se leen hacia abajo)"},
    {Phrase::map_legend,
     "Largest |observed - oracle| / bound of all cells: `.` up to 0.5, `:` up to 1 (rounding), a digit n up "
     "to 10^n, `A` up to 10^10 and so on, `#` infinite or NaN, `-` not judged.",
     "Mayor |observado - oráculo| / cota de todas las celdas: `.` hasta 0.5, `:` hasta 1 (redondeo), una "
     "cifra n hasta 10^n, `A` hasta 10^10, etc., `#` infinito o NaN, `-` sin juzgar."},
    {Phrase::yes, "yes", "sí"},
    {Phrase::no, "no", "no"},
    {Phrase::none, "none", "ninguna"},
    {Phrase::both_word, "both", "ambas"},
    {Phrase::both, "both phases", "ambas fases"},
    {Phrase::not_judged, "not judged", "sin juzgar"},
    {Phrase::confirmed, "confirmed", "confirmado"},
    {Phrase::not_confirmed, "not confirmed", "no confirmado"},

    {Phrase::and_single_roundings, "{0}; of single roundings, which fill their bound, {1}",
     "{0}; en las etapas de un solo redondeo, que llenan su cota, {1}"},
    {Phrase::verdict_equal, "prefill_last and decode0 are equal bit for bit in every judged stage.",
     "prefill_last y decode0 son idénticos bit a bit en todas las etapas juzgadas."},
    {Phrase::verdict_rounding,
     "prefill_last and decode0 differ by no more than rounding explains: no judged stage exceeds its bound "
     "(largest noise "
     "ratio {0}; 1 is the bound).",
     "prefill_last y decode0 no difieren más de lo que explica el redondeo: ninguna etapa juzgada supera su "
     "cota (mayor "
     "razón de ruido: {0}; la cota es 1)."},
    {Phrase::verdict_alone,
     "No judged stage exceeds its rounding bound of the fp64 oracle (largest noise ratio {0}; 1 is the "
     "bound).",
     "Ninguna etapa juzgada supera su cota de redondeo respecto del oráculo fp64 (mayor razón de ruido: {0}; "
     "la cota es 1)."},
    {Phrase::verdict_fault,
     "Rounding does not explain the difference between prefill_last and decode0. First fault: {0}.",
     "El redondeo no explica la diferencia entre prefill_last y decode0. Primer fallo: {0}."},
    {Phrase::verdict_fault_alone, "A stage is wrong by more than rounding explains. First fault: {0}.",
     "Una etapa es incorrecta más allá de lo que explica el redondeo. Primer fallo: {0}."},
    {Phrase::verdict_fault_runs, "Runs that must agree bit for bit do not. First fault: {0}.",
     "Ejecuciones que deben coincidir bit a bit no coinciden. Primer fallo: {0}."},
    {Phrase::verdict_inert,
     "No fault was seen, but GRETA cannot vouch for it: a forced route did not take effect, so the "
     "experiments do not "
     "differ as they should.",
     "No se observó ningún fallo, pero GRETA no puede dar fe de ello: una ruta forzada no tuvo efecto y los "
     "experimentos "
     "no difieren como deberían."},
    {Phrase::verdict_vacuous, "Nothing was really compared: agreement here proves nothing.",
     "En realidad no se comparó nada: que coincidan no demuestra nada."},
    {Phrase::verdict_inconclusive,
     "No fault was seen, but GRETA cannot vouch for it: part of the comparison is missing.",
     "No se observó ningún fallo, pero GRETA no puede dar fe de ello: falta parte de la comparación."},

    {Phrase::verdict_harness,
     "The recording contradicts itself: what it holds under one stage is not what the next was computed "
     "from. "
     "No fault of the engine was seen.",
     "La grabación se contradice: lo que guarda en una etapa no es aquello con lo que se calculó la "
     "siguiente. "
     "No se observó ningún fallo del motor."},
    {Phrase::verdict_undeclared,
     "Some stages compute, alike everywhere, by an arithmetic that was neither declared nor could be "
     "inferred: "
     "not judged.",
     "Algunas etapas calculan, igual en todas partes, con una aritmética que no se declaró ni se pudo "
     "inferir: "
     "no se juzgaron."},
    {Phrase::verdict_ops_fault, "Rounding does not explain what these ops gave: {0}.",
     "El redondeo no explica lo que dieron estas operaciones: {0}."},
    {Phrase::verdict_ops_unmeasured, "No op that was measured is wrong, but not all were: {0}.",
     "Ninguna operación medida es incorrecta, pero no todas se midieron: {0}."},
    {Phrase::verdict_ops_clean, "Every recorded op gave what its own inputs make, within rounding.",
     "Cada operación registrada dio lo que sus propias entradas producen, salvo redondeo."},
    {Phrase::ops_coverage,
     "{0} recordings of ops: {1} within rounding, {2} wrong, {3} UNMEASURED. Largest noise ratio within "
     "rounding: {4}.",
     "{0} registros de operaciones: {1} salvo redondeo, {2} incorrectos, {3} SIN MEDIR. Mayor razón de ruido "
     "salvo redondeo: {4}."},
    {Phrase::op_wrong, "{0}: wrong in {1} of {2} recordings, noise ratio {3}. {4}.",
     "{0}: incorrecta en {1} de {2} registros, razón de ruido {3}. {4}."},
    {Phrase::op_unmeasured, "{0}: UNMEASURED in {1} of {2} recordings: {3}.",
     "{0}: SIN MEDIR en {1} de {2} registros: {3}."},
    {Phrase::op_inferred, "{0}: {1}", "{0}: {1}"},
    {Phrase::arithmetic_inferred, "Inferred, since nothing was declared: {0}.",
     "Inferido, pues no se declaró nada: {0}."},
    {Phrase::arithmetic_of, "{0} in {1}: {2}", "{0} en {1}: {2}"},
    {Phrase::route_difference,
     "Route difference, no fault: {0} in prefill: {1}; in decode: {2}; apart by up to {3} in the mean.",
     "Diferencia de ruta, no un fallo: {0} en el prefill: {1}; en el decode: {2}; difieren hasta {3} en "
     "promedio."},

    {Phrase::factor_tells,
     "What tells wrong from right: {0} is wrong in all {1} recordings with ({2}); all {3} others of this "
     "kind of stage are right.",
     "Qué separa lo incorrecto de lo correcto: {0} es incorrecto en los {1} registros con ({2}); los otros "
     "{3} registros de esta clase de etapa son correctos."},
    {Phrase::groups_equal, "Equal bit for bit: {0}.", "Idénticos bit a bit: {0}."},
    {Phrase::groups_rounding, "Within rounding: {0}.", "Dentro del redondeo: {0}."},
    {Phrase::groups_fault, "With a fault: {0}.", "Con fallo: {0}."},
    {Phrase::groups_other, "Not vouched for: {0}.", "Sin garantía: {0}."},
    {Phrase::effect_zero, "The MAE of {2} does not depend on {0}: it stays exactly the same.",
     "El MAE de {2} no depende {0}: es exactamente el mismo."},
    {Phrase::effect_none, "The MAE of {2} does not depend on {0}: it changes by at most {1}.",
     "El MAE de {2} no depende {0}: cambia como máximo un {1}."},
    {Phrase::effect_some, "The MAE of {2} depends on {0}: it changes by up to {1}.",
     "El MAE de {2} depende {0}: cambia hasta un {1}."},
    {Phrase::effect_is_rounding, "That is rounding, not a fault: the two routes round differently.",
     "Es redondeo, no un fallo: las dos rutas redondean de forma distinta."},
    {Phrase::fault_zero, "The fault does not depend on {0}: the MAE of {2} stays exactly the same.",
     "El fallo no depende {0}: el MAE de {2} es exactamente el mismo."},
    {Phrase::fault_none, "The fault does not depend on {0}: the MAE of {2} changes by at most {1}.",
     "El fallo no depende {0}: el MAE de {2} cambia como máximo un {1}."},
    {Phrase::fault_same,
     "The fault does not depend on {0}: the MAE of {2} changes by up to {1}, but against the fp64 oracle the "
     "fault stays the same.",
     "El fallo no depende {0}: el MAE de {2} cambia hasta un {1}, pero frente al oráculo fp64 el fallo sigue "
     "igual."},
    {Phrase::fault_some, "The fault depends on {0}: the MAE of {2} changes by up to {1}.",
     "El fallo depende {0}: el MAE de {2} cambia hasta un {1}."},
    {Phrase::fault_everywhere, "The fault does not depend on {0}: it shows either way.",
     "El fallo no depende {0}: se observa en cualquier caso."},
    {Phrase::fault_with, "The fault depends on {0}: it shows with {1}, not with {2}.",
     "El fallo depende {0}: se observa con {1}, no con {2}."},
    {Phrase::fault_splits,
     "The fault depends on {0}: of two cells that differ in it alone, only one shows it.",
     "El fallo depende {0}: de dos celdas que solo difieren en eso, una sola lo muestra."},
    {Phrase::fault_any_prompt,
     "The fault shows with every prompt that was run; the MAE of {1} varies by up to {0} between them.",
     "El fallo se observa con todos los prompts ejecutados; el MAE de {1} varía hasta un {0} entre ellos."},
    {Phrase::fault_every_prompt,
     "The fault does not depend on the prompt: it shows with every one that was run.",
     "El fallo no depende del prompt: se observa con todos los que se ejecutaron."},
    {Phrase::fault_of_phase,
     "The fault depends on the phase: {0} is wrong, {1} is within rounding at this stage (noise ratio {2}).",
     "El fallo depende de la fase: el {0} es incorrecto y el {1} queda dentro del redondeo en esta etapa "
     "(razón de ruido {2})."},
    {Phrase::fault_of_both, "The fault does not depend on the phase: both are wrong.",
     "El fallo no depende de la fase: ambas son incorrectas."},
    {Phrase::fault_of_each,
     "Both phases are wrong at this stage, each in its own way: the other has a finding of its own.",
     "Ambas fases son incorrectas en esta etapa, cada una a su manera: la otra tiene su propio hallazgo."},
    {Phrase::fault_other_phase_unseen,
     "Whether the fault depends on the phase is open: {1} was not judged at this stage.",
     "No se sabe si el fallo depende de la fase: el {1} no se juzgó en esta etapa."},
    {Phrase::interaction_none,
     "Route and prompt do not interact: the route's effect is the same with every prompt that shows the "
     "fault.",
     "La ruta y el prompt no interactúan: el efecto de la ruta es el mismo con todos los prompts que "
     "muestran el fallo."},
    {Phrase::interaction_some,
     "Route and prompt interact: the route's effect on the fault differs by {0} between prompts.",
     "La ruta y el prompt interactúan: el efecto de la ruta en el fallo difiere un {0} entre prompts."},
    {Phrase::mae_in_layer, "{0} in layer {1}", "{0} en la capa {1}"},
    {Phrase::factor_route, "the route (matrix or vector) of decode's Q, K and V",
     "de la ruta (matricial o vectorial) de Q, K y V en el decode"},
    {Phrase::factor_gemm, "forced GEMM", "de forzar GEMM"},
    {Phrase::factor_prompt, "the prompt", "del prompt"},
    {Phrase::not_the_route,
     "So the kernel's route is not the cause: the error lies in what both routes share (weights, their "
     "layout, inputs).",
     "Por tanto, la causa no es la ruta del kernel: el error está en lo que ambas rutas comparten (pesos, su "
     "disposición, entradas)."},
    {Phrase::not_the_route_prefill,
     "So the kernel's route in decode is not the cause: the error lies in prefill, which all experiments run "
     "alike.",
     "Por tanto, la causa no es la ruta del kernel en el decode: el error está en el prefill, que todos los "
     "experimentos ejecutan igual."},
    {Phrase::mae_all_zero,
     "The MAE of Q, K and V is zero in all experiments: forcing the route or GEMM changes nothing.",
     "El MAE de Q, K y V es cero en todos los experimentos: forzar la ruta o GEMM no cambia nada."},
};
static_assert(in_order(kVerdictPhrases, Phrase{}), "they must follow the order of Phrase");
static_assert(std::size(kVerdictPhrases) == static_cast<size_t>(kFindingPhrases));

constexpr PhraseEntry kRest[] = {
    {Phrase::flagged, "{0} in {1}: {2}.", "{0} en {1}: {2}."},
    {Phrase::flagged_run, "{0}: {1}.", "{0}: {1}."},
    {Phrase::not_aligned,
     "decode0 was not aligned: it processed the next token, not the last of the prompt. The pairs are not "
     "comparable, and "
     "the MAE says nothing about the engine.",
     "decode0 no estaba alineado: procesó el token siguiente, no el último del prompt. Los pares no son "
     "comparables y el "
     "MAE no dice nada del motor."},
    {Phrase::attested_no_cell, "No cell was run.", "No se ejecutó ninguna celda."},
    {Phrase::attested_all, "Attested in {0} of {0} cells: what was forced is what ran.",
     "Constatado en {0} de {0} celdas: lo que se forzó es lo que se ejecutó."},
    {Phrase::attested_not, "Attested in {0} of {1} cells only; not in {2}.",
     "Constatado solo en {0} de {1} celdas; no en {2}."},
    {Phrase::top1_all, "The most likely next token is the same in both phases, in all cells.",
     "El token siguiente más probable es el mismo en ambas fases, en todas las celdas."},
    {Phrase::top1_not, "The most likely next token differs between the phases in {0}.",
     "El token siguiente más probable difiere entre las fases en {0}."},
    {Phrase::top1_unknown, "Logits of both phases were not recorded.",
     "No se registraron los logits de ambas fases."},
    {Phrase::shared_fault_unseen,
     "A fault that both phases share stays invisible to a comparison of the two.",
     "Un fallo que ambas fases compartan queda invisible al compararlas entre sí."},
    {Phrase::injected, "Faults injected on purpose: {0}.", "Fallos introducidos a propósito: {0}."},
    {Phrase::coverage,
     "{0} % of the recorded stages judged ({1} of {2}), {3} of them propagated from an earlier difference.",
     "Se juzgó el {0} % de las etapas registradas ({1} de {2}); en {3} de ellas la diferencia viene de una "
     "etapa anterior."},
    {Phrase::coverage_alone,
     "{0} of them were held against the fp64 oracle of their own inputs, each phase alone.",
     "{0} de ellas se contrastaron con el oráculo fp64 de sus propias entradas, cada fase por separado."},
    {Phrase::coverage_compared,
     "The others ({0}) were only compared between the phases: what they are made of was not recorded.",
     "Las demás ({0}) solo se compararon entre fases: no se registró aquello de lo que se calculan."},
    {Phrase::coverage_skipped, "Not judged: {0} stages, {1}.", "Sin juzgar: {0} etapas, {1}."},
    {Phrase::not_exercised, "Not exercised: {0}.", "Lo que esta ejecución no puso a prueba: {0}."},
    {Phrase::held_prompts,
     "The program that runs unrecorded gives the recorded bits (caches of all layers and positions, logits) "
     "with "
     "{0} of {0} prompts.",
     "El programa que se ejecuta sin registrar da los bits registrados (cachés de todas las capas y "
     "posiciones, "
     "logits) con {0} de {0} prompts."},
    {Phrase::held_first_tokens,
     "The program that runs unrecorded gives the recorded bits with the first {1} tokens of {0} prompts.",
     "El programa que se ejecuta sin registrar da los bits registrados con los primeros {1} tokens de {0} "
     "prompts."},
    {Phrase::held_own,
     "{0} tokens of its own (`--seed {1}`) leave the same bits at once, in blocks of {2} to {3} rows, one by "
     "one and in a used cache (threads: {4}).",
     "{0} tokens propios (`--seed {1}`) dejan los mismos bits de una vez, en bloques de {2} a {3} filas, uno "
     "a "
     "uno y en una caché usada (hilos: {4})."},
    {Phrase::judged_own,
     "{0} stages of them were judged besides: an inner block, steps at {1}, caches in {2}.",
     "Además se juzgaron {0} etapas de ellos: un bloque interior, pasos en {1}, cachés en {2}."},
    {Phrase::trust_loss,
     "What engine and judge read of the file alike, by the loss of {0} tokens ({1} nats each): with another "
     "value "
     "it is higher by {2}.",
     "Lo que motor y juez leen igual del archivo, según la pérdida de {0} tokens ({1} nats cada uno): con "
     "otro valor "
     "aumenta en {2}."},
    {Phrase::kernels_equal, "Held against judged kernels bit for bit, as no record shows them: {0}.",
     "Contrastados bit a bit con kernels juzgados, pues ningún registro los muestra: {0}."},
    {Phrase::kernels_unvouched, "Not vouched for, as they ran in no judged event: {0}.",
     "Sin garantía, pues no se ejecutaron en ningún evento juzgado: {0}."},
    {Phrase::untested_write,
     "Not tested: whether decode0 writes its row of the cache. In {0} it equals what prefill left there (in "
     "up to {1} of {2} layers), and the recording does not say that it was cleared before: overwrite it with "
     "zeros, once with another token's row, and say so in manifest.json (`decode0_row`).",
     "Sin probar: si decode0 escribe su fila de la caché. En {0} es igual a lo que el prefill dejó allí "
     "(hasta "
     "en {1} de {2} capas), y la grabación no dice que se haya borrado antes: sobrescribirla con ceros, una "
     "vez con la fila de otro token, y decirlo en manifest.json (`decode0_row`)."},
    {Phrase::more, "and {0} more in verdict.json", "y {0} más en verdict.json"},

    {Phrase::method_what,
     "The same token at the same position is computed twice: as the last row of prefill (`prefill_last`) and "
     "as one step of decode against the KV cache (`decode0`). Every stage of every layer traced is recorded "
     "in both and compared.",
     "El mismo token en la misma posición se calcula dos veces: como última fila del prefill "
     "(`prefill_last`) y como un paso del decode sobre la caché KV (`decode0`). En ambos casos se registran "
     "todas las etapas de las capas trazadas y se comparan."},
    {Phrase::method_alone,
     "The recording holds no `prefill_last` and `decode0` of one prompt to compare: each recorded stage is "
     "judged alone, against the fp64 oracle, which recomputes it from its recorded inputs.",
     "La grabación no contiene `prefill_last` y `decode0` de un mismo prompt para compararlos: cada etapa "
     "registrada se juzga por separado, frente al oráculo fp64, que la recalcula a partir de sus entradas "
     "registradas."},
    {Phrase::method_model, "Model: {0} ({1}, {2}).", "Modelo: {0} ({1}, {2})."},
    {Phrase::method_machine, "Machine: device {0}, ISA {1}, {2} threads, KV cache {3}; {4} {5}, {6}; {7} s.",
     "Máquina: dispositivo {0}, ISA {1}, {2} hilos, caché KV {3}; {4} {5}, {6}; {7} s."},
    {Phrase::method_matrix, "Matrix: experiments {0}; prompts {1}; layers {2}.",
     "Matriz: experimentos {0}; prompts {1}; capas {2}."},
    {Phrase::method_recorded, "Recorded: prompts {0}; layers {1}.", "Registrado: prompts {0}; capas {1}."},
    {Phrase::method_aligned,
     "Alignment: `decode0` is fed the last prompt token, with the cache of the tokens before it.",
     "Alineación: `decode0` recibe el último token del prompt, con la caché de los tokens anteriores."},
    {Phrase::method_judge,
     "A stage whose inputs are equal in both phases is judged: EQUAL (same bits); ROUNDING (differs, but "
     "each side lies within its rounding bound of the fp64 oracle, which recomputes the stage from its "
     "recorded inputs); FAULT (a side lies beyond). A stage whose inputs already differ is PROPAGATED: "
     "judged by the oracle alone, not by this comparison. Noise ratio = largest |observed - oracle| / bound.",
     "Se juzga cada etapa cuyas entradas son iguales en ambas fases: IGUAL (EQUAL: los mismos bits), "
     "REDONDEO (ROUNDING: difiere, pero cada lado queda dentro de su cota de redondeo respecto del oráculo "
     "fp64, que recalcula la etapa a partir de sus entradas registradas); FALLO (FAULT: algún lado queda "
     "fuera). Una etapa cuyas entradas ya difieren queda como PROPAGADO (PROPAGATED): la juzga solo el "
     "oráculo, no esta comparación. Razón de ruido = mayor |observado - oráculo| / cota."},
    {Phrase::method_table,
     "E0-E4 force route and GEMM on decode's Q, K, V only. MFMA = matrix units, VALU = vector units.",
     "E0-E4 fuerzan la ruta y GEMM solo en Q, K y V del decode. MFMA = unidades matriciales, VALU = unidades "
     "vectoriales."},
    {Phrase::method_command, "Command: `{0}`", "Comando: `{0}`"},

    {Phrase::next_clean,
     "Nothing to mend. Run it on the prompts, layers and device that matter to you; a route that E0 does not "
     "choose is "
     "worth a `--route` of its own.",
     "No hay nada que corregir. Conviene ejecutarlo con los prompts, las capas y el dispositivo que "
     "importan; una ruta que "
     "E0 no elige merece su propio `--route`."},
    {Phrase::next_clean_alone,
     "Nothing to mend in what was recorded. To see one token in both phases, record an aligned decode0: the "
     "last prompt token once more, by decode.",
     "Nada que corregir en lo registrado. Para ver un mismo token en ambas fases, registrar un decode0 "
     "alineado (aligned decode0): el último token del prompt otra vez, en el decode."},
    {Phrase::next_mend, "Mend this first: {1} ({0}).", "Corregir primero esto: {1} ({0})."},
    {Phrase::look_weight,
     "Where to look: how {0}'s kernel reads and packs this weight (layout, block format, layer); "
     "`--verify-weights` probes it with one-hot inputs.",
     "Dónde mirar: cómo lee y empaqueta este peso el kernel en {0} (disposición, formato de bloque, capa); "
     "`--verify-weights` lo sondea con entradas one-hot."},
    {Phrase::look_sum,
     "Where to look: the kernel's sum in {0} (tails, lanes, accumulator, undeclared formats).",
     "Dónde mirar: la suma del kernel en {0} (colas, carriles, acumulador, formatos no declarados)."},
    {Phrase::look_output,
     "Where to look: how the kernel writes its output in {0} (scale, clipping, a stale or overwritten "
     "buffer, a bias).",
     "Dónde mirar: cómo escribe el kernel su salida en {0} (escala, recorte, un búfer obsoleto o "
     "sobrescrito, un sesgo)."},
    {Phrase::look_input, "Where to look: which buffer and row the stage is given in {0}.",
     "Dónde mirar: qué búfer y qué fila recibe la etapa en {0}."},
    {Phrase::look_elementwise,
     "Where to look: which buffers are added or multiplied in {0}, and the activation.",
     "Dónde mirar: qué búferes se suman o multiplican en {0}, y la activación."},
    {Phrase::look_norm, "Where to look: eps, weight and reduction of the norm in {0}.",
     "Dónde mirar: el eps, el peso y la reducción de la norma en {0}."},
    {Phrase::look_rope, "Where to look: position, base, scaling and pairing of RoPE in {0}.",
     "Dónde mirar: la posición, la base, el escalado y el emparejamiento de RoPE en {0}."},
    {Phrase::look_cache,
     "Where to look: which slots of the KV cache are written in {0}, and from which buffer.",
     "Dónde mirar: qué ranuras de la caché KV se escriben en {0}, y desde qué búfer."},
    {Phrase::look_attention,
     "Where to look: scale, mask, window, head map and cache length of attention in {0}.",
     "Dónde mirar: la escala, la máscara, la ventana, el mapa de cabezas y la longitud de la caché de la "
     "atención en {0}."},
    {Phrase::look_experts,
     "Where to look: how {0} chooses experts, which matrices it reads, by which weights it adds outputs.",
     "Dónde mirar: cómo elige {0} los expertos, qué matrices lee, con qué pesos suma las salidas."},
    {Phrase::look_plan,
     "Look at how the program is put together: the fused kernel, the plan's barriers, the position after a "
     "block.",
     "Revisar cómo se compone el programa: el kernel fusionado, las barreras del plan, la posición tras un "
     "bloque."},
    {Phrase::next_projection,
     "Start at {0}: from the recorded input the oracle gets something else, so check how the kernel reads "
     "the weight (row- or column-major, transposed, block layout) with a probe of one or two rows, then "
     "accumulation and bias.",
     "Empezar aquí: {0}. A partir de la entrada registrada el oráculo obtiene otra cosa, así que hay que "
     "comprobar cómo lee el peso el kernel (por filas o por columnas, transpuesto, disposición de bloques) "
     "sondeando una o dos filas; después, la acumulación y el sesgo."},
    {Phrase::next_norm, "Start at {0}: audit the norm's eps, weight and reduction in each phase.",
     "Empezar aquí: {0}. Auditar el eps, el peso y la reducción de la norma en cada fase."},
    {Phrase::next_rope, "Start at {0}: compare position, base, scaling and pairing of RoPE in each phase.",
     "Empezar aquí: {0}. Comparar la posición, la base, el escalado y el emparejamiento de RoPE en cada "
     "fase."},
    {Phrase::next_cache,
     "Start at {0}: compare which slots of the KV cache each phase writes and reads (position, layer, head, "
     "format).",
     "Empezar aquí: {0}. Comparar qué ranuras de la caché KV escribe y lee cada fase (posición, capa, "
     "cabeza, formato)."},
    {Phrase::next_attention,
     "Start at {0}: compare scale, mask, window, head map and cache length in each phase.",
     "Empezar aquí: {0}. Comparar la escala, la máscara, la ventana, el mapa de cabezas y la longitud de la "
     "caché en cada fase."},
    {Phrase::next_elementwise,
     "Start at {0}: check which buffers each phase adds or multiplies, and the activation.",
     "Empezar aquí: {0}. Comprobar qué búferes suma o multiplica cada fase, y la activación."},
    {Phrase::next_other, "Start at {0}, the first stage that is wrong.",
     "Empezar aquí: {0}, la primera etapa incorrecta."},
    {Phrase::next_again, "Then run the same command again: a mended fault may have hidden others.",
     "Después, volver a ejecutar el mismo comando: el fallo corregido puede ocultar otros."},
    {Phrase::next_inert,
     "Find out why what was forced did not run ({0}); until then E0-E4 do not isolate anything.",
     "Averiguar por qué no se ejecutó lo que se forzó ({0}); hasta entonces, E0-E4 no aíslan nada."},
    {Phrase::next_vacuous,
     "Record stages that carry information: a real prompt, all layers, weights that are not constant.",
     "Registrar etapas que aporten información: un prompt real, todas las capas, pesos que no sean "
     "constantes."},
    {Phrase::next_harness,
     "Mend the recording: each stage's values must be those that the next stage reads, at the time when it "
     "reads "
     "them.",
     "Corregir la grabación: los valores de cada etapa deben ser los que lee la siguiente, en el momento en "
     "que "
     "los lee."},
    {Phrase::next_undeclared,
     "Declare what these kernels round (docs/trace-format.md, `kernels`), and judge again.",
     "Declarar qué redondean estos kernels (docs/trace-format.md, `kernels`) y volver a juzgar."},
    {Phrase::next_missing, "Record what is missing (`--layers all --tensors all`) and judge again.",
     "Registrar lo que falta (`--layers all --tensors all`) y volver a juzgar."},
    {Phrase::next_ambiguous, "Add a prompt or a stage that separates the rival explanations.",
     "Añadir un prompt o una etapa que distinga entre las explicaciones rivales."},
    {Phrase::next_align,
     "Run it again with decode0 aligned (`GRETA_TRACE_STAGE_DEBUG_INPUT=1`, the default).",
     "Volver a ejecutarlo con decode0 alineado (`GRETA_TRACE_STAGE_DEBUG_INPUT=1`, el valor por defecto)."},

    {Phrase::column_experiment, "exp", "exp"},
    {Phrase::column_prompt, "prompt", "prompt"},
    {Phrase::column_tokens, "tokens", "tokens"},
    {Phrase::column_verdict, "verdict", "veredicto"},
    {Phrase::column_equal, "equal", "iguales"},
    {Phrase::column_rounding, "rounding", "redondeo"},
    {Phrase::column_fault, "fault", "fallo"},
    {Phrase::column_propagated, "propagated", "propagadas"},
    {Phrase::column_first_difference, "first difference", "primera diferencia"},
    {Phrase::column_noise_ratio, "max noise ratio", "razón de ruido máx."},
    {Phrase::column_top1, "top-1", "top-1"},
    {Phrase::column_stage, "stage", "etapa"},
    {Phrase::column_mae, "max MAE", "MAE máx."},
    {Phrase::column_cell, "cell", "celda"},
    {Phrase::column_in_phase, "{0} in {1}", "{0} en {1}"},
    {Phrase::column_attested, "attested", "constatado"},
    {Phrase::column_norm_mae, "attn_norm MAE", "MAE de attn_norm"},
    {Phrase::column_hash, "hash {0}", "hash de {0}"},
};
static_assert(in_order(kRest, kOtherPhrases), "they must follow the order of Phrase");
static_assert(std::size(kRest) == static_cast<size_t>(Phrase::count_) - static_cast<size_t>(kOtherPhrases));

const PhraseEntry& entry_of(Phrase phrase) {
  if (phrase < kFindingPhrases) return kVerdictPhrases[static_cast<size_t>(phrase)];
  const bool of_finding = phrase < kOtherPhrases;
  const Phrase first = of_finding ? kFindingPhrases : kOtherPhrases;
  const std::span<const PhraseEntry> part =
      of_finding ? finding_phrases() : std::span<const PhraseEntry>(kRest);
  return part[static_cast<size_t>(phrase) - static_cast<size_t>(first)];
}

}  // namespace

std::string_view phrase(Phrase phrase, Language language) {
  const PhraseEntry& entry = entry_of(phrase);
  return language == Language::english ? entry.english : entry.spanish;
}

}  // namespace greta::report

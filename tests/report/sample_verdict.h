#pragma once
// Verdicts made by hand, with the figures of B3.31 and of a clean engine.

#include "verdict/verdict.h"

namespace greta::report {

inline Verdict empty_verdict() {
  Verdict verdict;
  verdict.engine = "greta";
  verdict.engine_version = "0.1.0";
  verdict.model_name = "SmolLM2 135M Instruct";
  verdict.model_file = "SmolLM2-135M-Instruct.Q4_1.gguf";
  verdict.model_hash = "xxh3-128:00112233445566778899aabbccddeeff";
  verdict.device = "cpu";
  verdict.isa = "avx512";
  verdict.kv_format = "f32";
  verdict.threads = 2;
  verdict.command_line = "greta isolate -m model.gguf";
  verdict.date = "2026-02-03T14:05:06Z";
  verdict.seconds = 12.3;
  verdict.layers = {0, 1};
  return verdict;
}

struct SampleCell {
  const char* experiment;
  const char* force;
  bool gemm;
  const char* route;  // what ran
};

inline constexpr SampleCell kSampleCells[] = {{"E0", "auto", false, "matrix"},
                                              {"E1", "vector", false, "vector"},
                                              {"E2", "matrix", false, "matrix"},
                                              {"E3", "matrix", true, "matrix"},
                                              {"E4", "vector", true, "vector"}};

/// E0-E4 x (p0_short, p4_sys). `mae` and `status` decide what each cell's q is.
template <class Mae, class StatusOf>
Verdict matrix_verdict(Mae mae, StatusOf status_of) {
  Verdict verdict = empty_verdict();
  for (const SampleCell& sample : kSampleCells) {
    for (const char* prompt : {"p0_short", "p4_sys"}) {
      Cell cell;
      cell.key = {sample.experiment, prompt};
      cell.prompt_tokens = cell.key.prompt == "p0_short" ? 1 : 24;
      cell.verdict = status_of(cell.key.experiment, cell.key.prompt);
      cell.q.mae = mae(cell.key.experiment, cell.key.prompt);
      cell.k.mae = cell.q.mae / 2;
      cell.v.mae = cell.q.mae / 200;
      cell.q.route = cell.k.route = cell.v.route = sample.route;
      cell.prefill_q_kernel = "cpu.avx512vnni.gemm.q4_1";
      cell.q.kernel = cell.k.kernel = cell.v.kernel = "cpu.avx512vnni.gemv.q4_1";
      cell.force_route = sample.force;
      cell.force_gemm = sample.gemm;
      cell.attested = true;
      cell.logits_top1_agree = true;
      const bool differs = cell.verdict != RunStatus::equal;
      cell.has_first_difference = differs;
      cell.first_layer = 0;
      cell.first_stage = Stage::q;
      cell.max_noise_ratio = differs ? 0.42 : 0;
      (differs ? cell.pairs_rounding : cell.pairs_equal) = 3;
      StagePair pair;
      pair.cell = cell.key;
      pair.layer = 0;
      pair.stage = Stage::q;
      pair.status = cell.verdict == RunStatus::fault      ? PairStatus::fault
                    : cell.verdict == RunStatus::rounding ? PairStatus::rounding
                                                          : PairStatus::equal;
      pair.metrics.mae = cell.q.mae;
      verdict.pairs.push_back(pair);
      verdict.cells.push_back(cell);
    }
  }
  verdict.coverage = {30, 30, 0, 0, {}};
  return verdict;
}

/// E0, E2, E3 equal; E1, E4 rounding.
inline Verdict clean_verdict() {
  const auto vector = [](const std::string& experiment) { return experiment == "E1" || experiment == "E4"; };
  Verdict verdict = matrix_verdict(
      [&](const std::string& experiment, const std::string&) { return vector(experiment) ? 1.25e-3 : 0.0; },
      [&](const std::string& experiment, const std::string&) {
        return vector(experiment) ? RunStatus::rounding : RunStatus::equal;
      });
  verdict.status = RunStatus::rounding;
  return verdict;
}

/// B3.31's own picture: Q's MAE the same in E0-E4, invisible in the prompt of one token.
inline Verdict fault_verdict() {
  Verdict verdict = matrix_verdict(
      [](const std::string& experiment, const std::string& prompt) {
        const double rounding = experiment == "E1" || experiment == "E4" ? 2e-3 : 0;
        return prompt == "p4_sys" ? 5.37518e-01 : rounding;
      },
      [](const std::string&, const std::string& prompt) {
        return prompt == "p4_sys" ? RunStatus::fault : RunStatus::equal;
      });
  verdict.status = RunStatus::fault;
  verdict.injected = {"wq_column_major@prefill,S>1"};
  for (int layer = 0; layer < 2; ++layer) {
    Finding finding;
    finding.phase = Phases::prefill;
    finding.layer = layer;
    finding.stage = Stage::q;
    for (const SampleCell& sample : kSampleCells) finding.cells.push_back({sample.experiment, "p4_sys"});
    finding.prompts_that_cannot_show = {"p0_short"};
    finding.cause = Cause::unexplained;
    finding.title.en = "q is wrong in prefill";
    finding.title.es = "q es incorrecto en prefill";
    finding.noise_ratio = finding.noise_ratio_prefill = 12345.6;
    finding.noise_ratio_decode = 0.3;
    finding.mae = 5.37518e-01;
    verdict.findings.push_back(finding);
  }
  return verdict;
}

/// fault_verdict() with its cause named in layers 0 and 1, and all that speaks for it.
inline Verdict diagnosed_verdict() {
  Verdict verdict = fault_verdict();
  for (Finding& finding : verdict.findings) {
    finding.cause = Cause::named;
    finding.best = "weight_column_major";
    finding.family = CauseFamily::weight;
    finding.title.en = "Wq is read column-major";
    finding.title.es = "Wq se lee por columnas";
    finding.explained_residual = finding.layer == 0 ? 0.99999 : 0.9995;
    finding.hypothesis_noise_ratio = finding.layer == 0 ? 0.8 : 0.9;
    finding.runner_up = "wrong_layer_weight";
    finding.runner_up_residual = 0.6;
    finding.ruled_out = {{"wrong_layer_weight", 0.6}, {"swapped_weight", 0.4}, {"output_scaled", 0.3},
                         {"rope_row_order", 0.2},     {"zero_point", 0.1},     {"output_zero", -0.5}};
    finding.pattern.en = "heads 2 of 9";
    finding.pattern.es = "cabezas 2 de 9";
    finding.intervention = {true, 0.96, 0.0021, 0.37, 0.11, "p4_sys"};
  }
  for (const Phase phase : {Phase::prefill, Phase::decode}) {
    for (int layer = 0; layer < 2; ++layer) {
      verdict.noise.push_back({phase, layer, Stage::x_in, 0});
      verdict.noise.push_back({phase, layer, Stage::attn_norm, 0.25});
      verdict.noise.push_back({phase, layer, Stage::q, phase == Phase::prefill ? 12345.6 : 0.3});
    }
    verdict.noise.push_back({phase, kNoLayer, Stage::logits, 0.7});
  }
  return verdict;
}

/// What `diagnose` makes of a bundle that holds decode only.
inline Verdict unpaired_verdict() {
  Verdict verdict = clean_verdict();
  verdict.pairs.clear();
  for (Cell& cell : verdict.cells) {
    cell.paired = false;
    cell.q.mae = cell.k.mae = cell.v.mae = 0;
    cell.logits_top1_agree.reset();
  }
  verdict.coverage = {30, 30, 0, 30, {}};
  return verdict;
}

inline Verdict unaligned_verdict() {
  Verdict verdict = clean_verdict();
  verdict.aligned = false;
  verdict.status = RunStatus::inconclusive;
  verdict.coverage = {30, 0, 0, 0, {}};
  for (int i = 0; i < 30; ++i)
    verdict.coverage.skipped.push_back("E0/p4_sys L0 q: decode0 is the next token");
  return verdict;
}

inline Verdict inert_verdict() {
  Verdict verdict = clean_verdict();
  verdict.status = RunStatus::inert_factor;
  verdict.flags.push_back(
      {FlagKind::inert_factor, {"E2", "p4_sys"}, "L0 q was forced to matrix but ran vector"});
  verdict.cells[5].attested = false;
  verdict.cells[5].verdict = RunStatus::inert_factor;
  return verdict;
}

inline Verdict vacuous_verdict() {
  Verdict verdict = empty_verdict();
  verdict.status = RunStatus::vacuous;
  return verdict;
}

}  // namespace greta::report

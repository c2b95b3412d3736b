#include "isolate/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>

#include "isolate/attest.h"
#include "isolate/hypothesis.h"
#include "isolate/pair_judge.h"

namespace greta::isolate {
namespace {

void report(const StagePair& pair, std::vector<Finding>& findings) {
  const bool both = pair.noise_ratio_prefill > 1 && pair.noise_ratio_decode > 1;
  const std::string phase = both ? "both" : (pair.noise_ratio_prefill > 1 ? "prefill" : "decode");
  auto it = std::find_if(findings.begin(), findings.end(), [&](const Finding& f) {
    return f.layer == pair.layer && f.stage == pair.stage && f.phase == phase;
  });
  if (it == findings.end()) {
    Finding finding;
    finding.phase = phase;
    finding.layer = pair.layer;
    finding.stage = pair.stage;
    finding.hypothesis = "unexplained";
    it = findings.insert(findings.end(), std::move(finding));
  }
  it->cells.push_back(pair.cell);
  it->noise_ratio_prefill = std::max(it->noise_ratio_prefill, pair.noise_ratio_prefill);
  it->noise_ratio_decode = std::max(it->noise_ratio_decode, pair.noise_ratio_decode);
  it->noise_ratio = std::max(it->noise_ratio, pair.noise_ratio);
  it->mae = std::max(it->mae, pair.metrics.mae);
}

void count(const StagePair& pair, Cell& cell, Coverage& coverage) {
  ++coverage.recorded;
  if (pair.status == Status::missing) {
    coverage.skipped.push_back(
        fmt::format("{} L{} {}: {}", pair.cell, pair.layer, name(pair.stage), pair.why));
    return;
  }
  ++coverage.judged;
  cell.pairs_equal += pair.status == Status::equal;
  cell.pairs_rounding += pair.status == Status::rounding;
  cell.pairs_fault += pair.status == Status::fault;
  cell.pairs_propagated += pair.status == Status::propagated;
  coverage.propagated += pair.status == Status::propagated;
  coverage.alone += pair.judged_alone;
  cell.max_noise_ratio = std::max(cell.max_noise_ratio, pair.noise_ratio);
  if (pair.status != Status::equal && !cell.has_first_difference) {
    cell.has_first_difference = true;
    cell.first_layer = pair.layer;
    cell.first_stage = pair.stage;
  }
}

void fill_logits(const PhaseView& prefill, const PhaseView& decode, Cell& cell) {
  const trace::Event* a = prefill.find(Stage::logits, kNoLayer);
  const trace::Event* b = decode.find(Stage::logits, kNoLayer);
  if (a == nullptr || b == nullptr) return;
  if (a->hash == b->hash) cell.logits_top1_agree = true;
  const std::vector<float>* x = prefill.data(Stage::logits, kNoLayer);
  const std::vector<float>* y = decode.data(Stage::logits, kNoLayer);
  if (x == nullptr || y == nullptr || x->size() != y->size()) return;
  const LogitMetrics metrics = compare_logits(*x, *y);
  cell.logits_top1_agree = metrics.top1_agree;
  cell.logits_kl = metrics.kl;
  cell.logits_margin = metrics.margin;
}

double head0_mae(const Verdict& verdict, const std::string& cell, int layer, Stage stage) {
  for (const StagePair& pair : verdict.pairs) {
    if (pair.cell == cell && pair.layer == layer && pair.stage == stage && !pair.head_mae.empty()) {
      return pair.head_mae.front();
    }
  }
  return 0;
}

Status cell_status(const Cell& cell, int64_t missing) {
  if (cell.pairs_fault > 0) return Status::fault;
  if (missing > 0) return Status::inconclusive;
  if (cell.pairs_equal + cell.pairs_rounding + cell.pairs_propagated == 0) return Status::vacuous;
  return cell.pairs_rounding + cell.pairs_propagated > 0 ? Status::rounding : Status::equal;
}

/// A cell and what was recorded of it.
struct CellRecord {
  CellRecord(const trace::Bundle& bundle, Cell its_cell)
      : cell(std::move(its_cell)),
        key(cell.experiment + "/" + cell.prompt),
        tokens(prompt_tokens(bundle, cell.prompt)),
        prefill(bundle, key, trace::kPrefillLast),
        decode(bundle, key, trace::kDecode0) {
    cell.prompt_tokens = std::ssize(tokens);
  }

  Cell cell;
  std::string key;
  std::vector<TokenId> tokens;
  PhaseView prefill, decode;
};

void judge_cell(CellRecord& record, const OraclePass& oracle, const Model& model, Verdict& verdict) {
  Cell& cell = record.cell;
  const int64_t skipped = std::ssize(verdict.coverage.skipped);
  for (StagePair& pair : judge_pairs({record.prefill, record.decode, &oracle, &model.config,
                                      static_cast<int>(model.config.n_layer), record.key,
                                      verdict.aligned ? "" : "decode0 is the next token: not comparable"})) {
    count(pair, cell, verdict.coverage);
    if (pair.status == Status::fault) report(pair, verdict.findings);
    verdict.pairs.push_back(std::move(pair));
  }
  fill_logits(record.prefill, record.decode, cell);
  cell.verdict = cell_status(cell, std::ssize(verdict.coverage.skipped) - skipped);
  if (!verdict.layers.empty()) {
    cell.q_mae = head0_mae(verdict, record.key, verdict.layers.front(), Stage::q);
    cell.k_mae = head0_mae(verdict, record.key, verdict.layers.front(), Stage::k);
    cell.v_mae = head0_mae(verdict, record.key, verdict.layers.front(), Stage::v);
  }
  attest(record.prefill.bundle(), record.prefill, record.decode, cell, verdict.flags);
  verdict.cells.push_back(cell);
}

/// A prompt of one token runs the S = 1 plan in prefill too: it cannot show what needs S > 1.
void note_blind_prompts(Verdict& verdict) {
  for (Finding& finding : verdict.findings) {
    for (const Cell& cell : verdict.cells) {
      const std::string key = cell.experiment + "/" + cell.prompt;
      const bool shows = std::find(finding.cells.begin(), finding.cells.end(), key) != finding.cells.end();
      auto& blind = finding.prompts_that_cannot_show;
      if (!shows && cell.prompt_tokens == 1 &&
          std::find(blind.begin(), blind.end(), cell.prompt) == blind.end()) {
        blind.push_back(cell.prompt);
      }
    }
  }
}

/// Findings in execution order; within a stage, those of more cells first.
void sort_findings(Verdict& verdict) {
  const auto key = [](const Finding& f) {
    return std::tuple(f.layer == kNoLayer ? std::numeric_limits<int>::max() : f.layer, f.stage);
  };
  std::stable_sort(verdict.findings.begin(), verdict.findings.end(),
                   [&](const Finding& a, const Finding& b) { return key(a) < key(b); });
}

void plain_title(Finding& finding) {
  const std::string en = finding.phase == "both" ? "both phases" : finding.phase;
  const std::string es = finding.phase == "both" ? "ambas fases" : finding.phase;
  const std::string at_en = finding.layer == kNoLayer ? "" : fmt::format(" of layer {}", finding.layer);
  const std::string at_es = finding.layer == kNoLayer ? "" : fmt::format(" de la capa {}", finding.layer);
  finding.title_en =
      fmt::format("{}{} is wrong in {}: not explained by rounding", name(finding.stage), at_en, en);
  finding.title_es =
      fmt::format("{}{} es incorrecto en {}: el redondeo no lo explica", name(finding.stage), at_es, es);
}

/// The cause, by the first cell that shows the fault, in the phase that is wrong (both: it must be the same
/// in both).
void find_cause(const std::vector<CellRecord>& records, const Model& model, Finding& finding) {
  plain_title(finding);
  const auto record = std::find_if(records.begin(), records.end(),
                                   [&](const CellRecord& r) { return r.key == finding.cells.front(); });
  const auto explain_in = [&](const PhaseView& view) {
    return explain({model, view, record->tokens}, finding.stage, finding.layer);
  };
  name_cause(explain_in(finding.phase == "decode" ? record->decode : record->prefill), finding);
  if (finding.phase != "both" || finding.hypothesis == "unexplained") return;
  Finding in_decode = finding;
  name_cause(explain_in(record->decode), in_decode);
  if (in_decode.hypothesis == finding.hypothesis) return;
  finding.hypothesis = "unexplained";
  plain_title(finding);
}

void conclude(Verdict& verdict) {
  const bool fault = !verdict.findings.empty();
  const bool inconclusive = std::any_of(verdict.cells.begin(), verdict.cells.end(), [](const Cell& cell) {
    return cell.verdict == Status::inconclusive;
  });
  const bool rounding = std::any_of(verdict.cells.begin(), verdict.cells.end(),
                                    [](const Cell& cell) { return cell.verdict == Status::rounding; });
  const auto flagged = [&](const char* flag) {
    return std::any_of(verdict.flags.begin(), verdict.flags.end(),
                       [&](const Flag& f) { return f.flag == flag; });
  };
  if (fault) {
    verdict.status = Status::fault;
  } else if (flagged("INERT_FACTOR")) {
    verdict.status = Status::inert_factor;
  } else if (flagged("VACUOUS") || verdict.coverage.recorded == 0) {
    verdict.status = Status::vacuous;
  } else if (inconclusive) {
    verdict.status = Status::inconclusive;
  } else {
    verdict.status = rounding ? Status::rounding : Status::equal;
  }
  const bool vouched = verdict.status == Status::equal || verdict.status == Status::rounding;
  verdict.exit_code = fault ? 1 : (vouched ? 0 : 4);
}

}  // namespace

Verdict judge(const trace::Bundle& bundle, const Model& model, int threads) {
  Verdict verdict;
  verdict.aligned = bundle.manifest.value("aligned", true);
  std::set<int> layers;
  for (const trace::Event& event : bundle.events) {
    if (event.layer != kNoLayer) layers.insert(event.layer);
  }
  verdict.layers.assign(layers.begin(), layers.end());

  std::vector<CellRecord> records;
  for (Cell& cell : cells_of(bundle)) records.emplace_back(bundle, std::move(cell));
  OraclePass oracle(model);
  for (const CellRecord& record : records) {
    oracle.add(record.prefill, record.tokens);
    oracle.add(record.decode, record.tokens);
  }
  oracle.run(threads);
  for (CellRecord& record : records) judge_cell(record, oracle, model, verdict);

  flag_inert_factors(bundle, verdict);
  flag_vacuous(bundle, verdict);
  sort_findings(verdict);
  note_blind_prompts(verdict);
  for (Finding& finding : verdict.findings) find_cause(records, model, finding);
  conclude(verdict);
  return verdict;
}

}  // namespace greta::isolate

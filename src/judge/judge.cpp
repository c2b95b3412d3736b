#include "judge/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "judge/attest.h"
#include "judge/findings.h"
#include "judge/pair_judge.h"

namespace greta {
namespace {

void count(const StagePair& pair, Cell& cell, Coverage& coverage) {
  ++coverage.recorded;
  if (pair.status == PairStatus::missing) {
    coverage.skipped.push_back(
        fmt::format("{} L{} {}: {}", name(pair.cell), pair.layer, name(pair.stage), pair.why));
    return;
  }
  ++coverage.judged;
  cell.pairs_equal += pair.status == PairStatus::equal;
  cell.pairs_rounding += pair.status == PairStatus::rounding;
  cell.pairs_fault += pair.status == PairStatus::fault;
  cell.pairs_propagated += pair.status == PairStatus::propagated;
  coverage.propagated += pair.status == PairStatus::propagated;
  coverage.alone += pair.judged_alone;
  cell.max_noise_ratio = std::max(cell.max_noise_ratio, pair.noise_ratio);
  if (pair.status != PairStatus::equal && !cell.has_first_difference) {
    cell.has_first_difference = true;
    cell.first_layer = pair.layer;
    cell.first_stage = pair.stage;
  }
}

void fill_logits(const PhaseView& prefill, const PhaseView& decode, Cell& cell) {
  const Event* a = prefill.find({kNoLayer, Stage::logits});
  const Event* b = decode.find({kNoLayer, Stage::logits});
  if (a == nullptr || b == nullptr) return;
  if (a->hash == b->hash) cell.logits_top1_agree = true;
  const std::vector<float>* x = prefill.data({kNoLayer, Stage::logits});
  const std::vector<float>* y = decode.data({kNoLayer, Stage::logits});
  if (x == nullptr || y == nullptr || x->size() != y->size()) return;
  const LogitMetrics metrics = compare_logits(*x, *y);
  cell.logits_top1_agree = metrics.top1_agree;
  cell.logits_kl = metrics.kl;
  cell.logits_margin = metrics.margin;
}

double head0_mae(const Verdict& verdict, const CellKey& cell, int layer, Stage stage) {
  for (const StagePair& pair : verdict.pairs) {
    if (pair.cell == cell && pair.layer == layer && pair.stage == stage && !pair.head_mae.empty()) {
      return pair.head_mae.front();
    }
  }
  return 0;
}

/// B3.32's question: is the projections' input the same in both phases?
void fill_attn_norm(const Verdict& verdict, int layer, Cell& cell) {
  for (const StagePair& pair : verdict.pairs) {
    if (pair.cell != cell.key || pair.layer != layer || pair.stage != Stage::attn_norm) continue;
    cell.attn_norm_mae = pair.metrics.mae;
    cell.attn_norm_hash_prefill = pair.hash_prefill;
    cell.attn_norm_hash_decode = pair.hash_decode;
  }
}

RunStatus cell_status(const Cell& cell, int64_t missing) {
  if (cell.pairs_fault > 0) return RunStatus::fault;
  if (missing > 0) return RunStatus::inconclusive;
  if (cell.pairs_equal + cell.pairs_rounding + cell.pairs_propagated == 0) return RunStatus::vacuous;
  return cell.pairs_rounding + cell.pairs_propagated > 0 ? RunStatus::rounding : RunStatus::equal;
}

/// A cell and what was recorded of it.
struct CellRecord {
  CellRecord(const Bundle& bundle, const Model& model, Cell its_cell) : cell(std::move(its_cell)) {
    const std::vector<TokenId> tokens = prompt_tokens(bundle, cell.key.prompt);
    cell.prompt_tokens = std::ssize(tokens);
    for (const Event& event : bundle.events) {
      if (event.key() != cell.key || has(event.phase)) continue;
      phases.push_back(std::make_unique<PhaseRecord>(
          PhaseRecord{&model, PhaseView(bundle, cell.key, event.phase), tokens, nullptr}));
    }
    if (!bundle.manifest.value("shared_cache", false)) return;
    const PhaseRecord* filled =
        find(Seen::prefill_last) != nullptr ? find(Seen::prefill_last) : find(Seen::prefill);
    if (PhaseRecord* decode = find(Seen::decode0); decode != nullptr) decode->before = filled;
  }

  bool has(const std::string& phase) const {
    return std::any_of(phases.begin(), phases.end(),
                       [&](const auto& record) { return record->view.phase() == phase; });
  }
  PhaseRecord* find(Seen seen) const {
    for (const auto& record : phases) {
      if (record->view.seen() == seen) return record.get();
    }
    return nullptr;
  }
  bool is_pair() const { return find(Seen::prefill_last) != nullptr && find(Seen::decode0) != nullptr; }

  Cell cell;
  std::vector<std::unique_ptr<PhaseRecord>> phases;
};

/// prefill_last against decode0.
void judge_pair(const CellRecord& record, const OraclePass& oracle, const Model& model, Cell& cell,
                Verdict& verdict) {
  const PhaseView& prefill = record.find(Seen::prefill_last)->view;
  const PhaseView& decode = record.find(Seen::decode0)->view;
  for (StagePair& pair : judge_pairs({prefill, decode, &oracle, &model.config,
                                      static_cast<int>(model.config.n_layer), record.cell.key, "",
                                      verdict.aligned ? "" : "decode0 is the next token: not comparable"})) {
    count(pair, cell, verdict.coverage);
    verdict.pairs.push_back(std::move(pair));
  }
  fill_logits(prefill, decode, cell);
  attest(prefill.bundle(), prefill, decode, cell, verdict.flags);
}

/// What a phase recorded as an input of what follows, without what it is made from: x_in where no x_out is.
bool is_given(const PhaseView& view, At at) {
  return at.stage == Stage::x_in && at.layer > 0 && view.find({at.layer - 1, Stage::x_out}) == nullptr;
}

/// A phase that has no counterpart: each stage alone.
void judge_unpaired(const PhaseRecord& phase, const OraclePass& oracle, Cell& cell, Coverage& coverage) {
  for (const auto& [at, event] : phase.view.events()) {
    const OraclePass::Result* result = oracle.find(phase.view, at);
    if (is_given(phase.view, at)) continue;
    ++coverage.recorded;
    if (!result->judgement) {
      coverage.skipped.push_back(fmt::format("{} {} L{} {}: {}", name(phase.view.cell()), phase.view.phase(),
                                             at.layer, name(at.stage), result->why));
      continue;
    }
    const double ratio = result->judgement->noise_ratio;
    ++coverage.judged;
    ++coverage.alone;
    cell.pairs_fault += ratio > 1;
    cell.pairs_rounding += ratio > 0 && ratio <= 1 && !cell.paired;
    cell.pairs_equal += ratio == 0 && !cell.paired;
    cell.max_noise_ratio = std::max(cell.max_noise_ratio, ratio);
  }
}

void judge_cell(CellRecord& record, const OraclePass& oracle, const Model& model, Verdict& verdict) {
  Cell& cell = record.cell;
  const int64_t skipped = std::ssize(verdict.coverage.skipped);
  cell.paired = record.is_pair();
  cell.attested = cell.force_route == "auto" && !cell.force_gemm;
  if (cell.paired) judge_pair(record, oracle, model, cell, verdict);
  for (const auto& phase : record.phases) {
    const Seen seen = phase->view.seen();
    const bool done = cell.paired && (seen == Seen::prefill_last || seen == Seen::decode0);
    if (!done) judge_unpaired(*phase, oracle, cell, verdict.coverage);
  }
  cell.verdict = cell_status(cell, std::ssize(verdict.coverage.skipped) - skipped);
  if (!verdict.layers.empty()) {
    cell.q.mae = head0_mae(verdict, cell.key, verdict.layers.front(), Stage::q);
    cell.k.mae = head0_mae(verdict, cell.key, verdict.layers.front(), Stage::k);
    cell.v.mae = head0_mae(verdict, cell.key, verdict.layers.front(), Stage::v);
    fill_attn_norm(verdict, verdict.layers.front(), cell);
  }
  verdict.cells.push_back(cell);
}

/// Every stage of every phase that the oracle convicts; and the largest noise ratio of each, for the map.
std::vector<Conviction> convict(const std::vector<CellRecord>& records, const OraclePass& oracle,
                                Verdict& verdict) {
  std::vector<Conviction> convictions;
  std::map<std::pair<Phase, At>, double> noise;
  for (const CellRecord& record : records) {
    for (const auto& phase : record.phases) {
      const Phase in = phase_of(phase->view.seen());
      for (const auto& [at, event] : phase->view.events()) {
        const OraclePass::Result* result = oracle.find(phase->view, at);
        if (!result->judgement) continue;
        const double ratio = result->judgement->noise_ratio;
        double& largest = noise[{in, at}];
        largest = std::max(largest, ratio);
        if (ratio > 1) convictions.push_back({phase.get(), record.cell.key, at.layer, at.stage, ratio, in});
      }
    }
  }
  for (const auto& [place, ratio] : noise)
    verdict.noise.push_back({place.first, place.second.layer, place.second.stage, ratio});
  return convictions;
}

/// MAE of a finding, from the pairs of its cells.
void add_mae(Verdict& verdict) {
  for (Finding& finding : verdict.findings) {
    for (const StagePair& pair : verdict.pairs) {
      if (pair.layer == finding.layer && pair.stage == finding.stage)
        finding.mae = std::max(finding.mae, pair.metrics.mae);
    }
  }
}

/// A prompt of one token runs the S = 1 plan in prefill too: it cannot show what needs S > 1.
void note_blind_prompts(Verdict& verdict) {
  for (Finding& finding : verdict.findings) {
    for (const Cell& cell : verdict.cells) {
      const bool shows =
          std::find(finding.cells.begin(), finding.cells.end(), cell.key) != finding.cells.end();
      auto& blind = finding.prompts_that_cannot_show;
      if (!shows && cell.prompt_tokens == 1 &&
          std::find(blind.begin(), blind.end(), cell.key.prompt) == blind.end()) {
        blind.push_back(cell.key.prompt);
      }
    }
  }
}

RunStatus status_of(const Verdict& verdict) {
  const auto some_cell = [&](RunStatus status) {
    return std::any_of(verdict.cells.begin(), verdict.cells.end(),
                       [&](const Cell& cell) { return cell.verdict == status; });
  };
  const auto flagged = [&](FlagKind kind) {
    return std::any_of(verdict.flags.begin(), verdict.flags.end(),
                       [&](const Flag& flag) { return flag.kind == kind; });
  };
  if (!verdict.findings.empty()) return RunStatus::fault;
  if (flagged(FlagKind::inert_factor)) return RunStatus::inert_factor;
  if (flagged(FlagKind::vacuous) || verdict.coverage.recorded == 0) return RunStatus::vacuous;
  if (some_cell(RunStatus::inconclusive)) return RunStatus::inconclusive;
  return some_cell(RunStatus::rounding) ? RunStatus::rounding : RunStatus::equal;
}

/// Who recorded what, by the manifest.
void describe(const Bundle& bundle, const Model& model, Verdict& verdict) {
  const nlohmann::json& manifest = bundle.manifest;
  const nlohmann::json file = manifest.value("model", nlohmann::json::object());
  const nlohmann::json options = manifest.value("options", nlohmann::json::object());
  verdict.aligned = manifest.value("aligned", true);
  verdict.engine = manifest.value("engine", "");
  verdict.engine_version = manifest.value("version", "");
  verdict.model_name = file.value("name", model.config.name);
  verdict.model_file = file.value("file", model.file.path());
  verdict.model_hash = file.value("hash", "");
  verdict.device = manifest.value("device", "");
  verdict.isa = manifest.value("isa", "");
  verdict.kv_format = manifest.value("kv_format", "");
  verdict.threads = manifest.value("threads", 0);
  verdict.command_line = manifest.value("command_line", "");
  verdict.date = manifest.value("time", "");
  if (options.is_object() && options.contains("inject")) {
    for (const nlohmann::json& fault : options["inject"]) {
      if (fault.is_string()) verdict.injected.push_back(fault);
    }
  }
}

Verdict judge_bundle(const Bundle& bundle, const Model& model, int threads, bool causes) {
  Verdict verdict;
  describe(bundle, model, verdict);
  std::set<int> layers;
  for (const Event& event : bundle.events) {
    if (event.layer != kNoLayer) layers.insert(event.layer);
  }
  verdict.layers.assign(layers.begin(), layers.end());

  std::vector<CellRecord> records;
  for (Cell& cell : cells_of(bundle)) records.emplace_back(bundle, model, std::move(cell));
  OraclePass oracle;
  for (const CellRecord& record : records) {
    for (const auto& phase : record.phases) oracle.add(*phase);
  }
  oracle.run(threads);
  for (CellRecord& record : records) judge_cell(record, oracle, model, verdict);
  verdict.findings = find_causes(convict(records, oracle, verdict), threads, causes);

  add_mae(verdict);
  flag_inert_factors(bundle, verdict);
  flag_vacuous(bundle, verdict);
  note_blind_prompts(verdict);
  verdict.status = status_of(verdict);
  return verdict;
}

}  // namespace

Verdict judge(const Bundle& bundle, const Model& model, int threads) {
  return judge_bundle(bundle, model, threads, true);
}

Verdict judge_places(const Bundle& bundle, const Model& model, int threads) {
  return judge_bundle(bundle, model, threads, false);
}

}  // namespace greta

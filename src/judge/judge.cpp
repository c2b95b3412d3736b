#include "judge/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "base/parallel.h"
#include "judge/attest.h"
#include "judge/findings.h"
#include "judge/harness.h"
#include "judge/inference.h"
#include "judge/pair_judge.h"
#include "judge/raw_scores.h"
#include "judge/route_difference.h"
#include "judge/scope.h"
#include "judge/second_reading.h"
#include "judge/undeclared.h"
#include "judge/untested_write.h"

namespace greta {
namespace {

void count(const StagePair& pair, Cell& cell, Coverage& coverage) {
  ++coverage.recorded;
  const bool missing = pair.status == PairStatus::missing;
  if (missing || (pair.judged_alone && !pair.why.empty()))
    coverage.skipped.push_back(
        fmt::format("{} L{} {}: {}", name(pair.cell), pair.layer, name(pair.stage), pair.why));
  if (missing) return;
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

const StagePair* pair_at(const std::vector<StagePair>& pairs, At at) {
  const auto it = std::find_if(pairs.begin(), pairs.end(), [&](const StagePair& pair) {
    return At{pair.layer, pair.stage} == at;
  });
  return it == pairs.end() ? nullptr : &*it;
}

double head0_mae(const std::vector<StagePair>& pairs, At at) {
  const StagePair* pair = pair_at(pairs, at);
  return pair == nullptr || pair->head_mae.empty() ? 0 : pair->head_mae.front();
}

/// What B3.31's and B3.32's tables say of a cell, in the first traced layer: projections, and their input.
void fill_tables(const std::vector<StagePair>& pairs, int layer, Cell& cell) {
  cell.q.mae = head0_mae(pairs, {layer, Stage::q});
  cell.k.mae = head0_mae(pairs, {layer, Stage::k});
  cell.v.mae = head0_mae(pairs, {layer, Stage::v});
  const StagePair* input = pair_at(pairs, {layer, Stage::attn_norm});
  if (input == nullptr) return;
  cell.attn_norm_mae = input->metrics.mae;
  cell.attn_norm_hash_prefill = input->hash_prefill;
  cell.attn_norm_hash_decode = input->hash_decode;
}

RunStatus cell_status(const Cell& cell, int64_t missing) {
  if (cell.pairs_fault > 0) return RunStatus::fault;
  if (missing > 0) return RunStatus::inconclusive;
  if (cell.pairs_equal + cell.pairs_rounding + cell.pairs_propagated == 0) return RunStatus::vacuous;
  return cell.pairs_rounding + cell.pairs_propagated > 0 ? RunStatus::rounding : RunStatus::equal;
}

/// A cell and what was recorded of it.
class CellRecord {
 public:
  CellRecord(const Bundle& bundle, const Model& model, Cell its_cell, std::vector<PhaseView> views)
      : cell(std::move(its_cell)) {
    const std::vector<TokenId> tokens = prompt_tokens(bundle, cell.key.prompt);
    cell.prompt_tokens = std::ssize(tokens);
    for (PhaseView& view : views)
      phases_.push_back(std::make_unique<PhaseRecord>(PhaseRecord{&model, std::move(view), tokens, nullptr}));
    if (!bundle.manifest.value("shared_cache", false)) return;
    const PhaseRecord* filled = find(Seen::prefill_last);
    if (filled == nullptr) filled = find(Seen::prefill);
    for (const auto& phase : phases_) {
      if (phase.get() == find(Seen::decode0)) phase->before = filled;
    }
  }

  const PhaseRecord* find(Seen seen) const {
    for (const auto& record : phases_) {
      if (record->view.seen() == seen) return record.get();
    }
    return nullptr;
  }
  void judge_by(const InferredArithmetic& inferred) {
    for (const auto& phase : phases_) phase->inferred = &inferred;
  }
  bool is_pair() const { return find(Seen::prefill_last) != nullptr && find(Seen::decode0) != nullptr; }
  /// In order of their first event.
  std::vector<const PhaseRecord*> phases() const {
    std::vector<const PhaseRecord*> all;
    for (const auto& phase : phases_) all.push_back(phase.get());
    return all;
  }

  Cell cell;

 private:
  std::vector<std::unique_ptr<PhaseRecord>> phases_;  // at addresses that stay
};

std::vector<CellRecord> records_of(const Bundle& bundle, const Model& model) {
  std::map<CellKey, std::vector<PhaseView>> views;
  for (PhaseView& view : PhaseView::all_of(bundle)) {
    const CellKey key = view.cell();
    views[key].push_back(std::move(view));
  }
  std::vector<CellRecord> records;
  for (Cell& cell : cells_of(bundle)) {
    std::vector<PhaseView> own = std::move(views[cell.key]);
    records.emplace_back(bundle, model, std::move(cell), std::move(own));
  }
  return records;
}

/// What became of one cell.
struct JudgedCell {
  Cell cell;
  std::vector<StagePair> pairs = {};
  Coverage coverage = {};
  std::vector<Flag> flags = {};
};

/// prefill_last against decode0.
void judge_pair(const CellRecord& record, const OraclePass& oracle, const Model& model, bool aligned,
                JudgedCell& judged) {
  const PhaseView& prefill = record.find(Seen::prefill_last)->view;
  const PhaseView& decode = record.find(Seen::decode0)->view;
  judged.pairs = judge_pairs({.a = prefill,
                              .b = decode,
                              .oracle = &oracle,
                              .config = &model.config,
                              .n_layer = static_cast<int>(model.config.n_layer),
                              .cell = record.cell.key,
                              .not_comparable = aligned ? "" : "decode0 is the next token: not comparable"});
  for (const StagePair& pair : judged.pairs) count(pair, judged.cell, judged.coverage);
  fill_logits(prefill, decode, judged.cell);
  attest(prefill.bundle(), prefill, decode, judged.cell, judged.flags);
}

/// A phase that has no counterpart: each stage alone.
void judge_unpaired(const PhaseRecord& phase, const OraclePass& oracle, Cell& cell, Coverage& coverage) {
  for (const auto& [at, event] : phase.view.events()) {
    const JudgedStage* result = oracle.find(phase.view, at);
    if (is_given(phase.view, at)) continue;
    ++coverage.recorded;
    if (!result->why.empty())
      coverage.skipped.push_back(fmt::format("{} {} L{} {}: {}", name(phase.view.cell()), phase.view.phase(),
                                             at.layer, name(at.stage), result->why));
    if (!result->judgement) continue;
    const double ratio = result->judgement->noise_ratio;
    ++coverage.judged;
    ++coverage.alone;
    cell.pairs_fault += ratio > 1;
    cell.pairs_rounding += ratio > 0 && ratio <= 1 && !cell.paired;
    cell.pairs_equal += ratio == 0 && !cell.paired;
    cell.max_noise_ratio = std::max(cell.max_noise_ratio, ratio);
  }
}

JudgedCell judge_cell(const CellRecord& record, const OraclePass& oracle, const Model& model, bool aligned,
                      const std::vector<int>& layers) {
  JudgedCell judged{record.cell};
  Cell& cell = judged.cell;
  cell.paired = record.is_pair();
  cell.attested = cell.force_route == "auto" && !cell.force_gemm;
  if (cell.paired) judge_pair(record, oracle, model, aligned, judged);
  for (const PhaseRecord* phase : record.phases()) {
    const Seen seen = phase->view.seen();
    const bool done = cell.paired && (seen == Seen::prefill_last || seen == Seen::decode0);
    if (!done) judge_unpaired(*phase, oracle, cell, judged.coverage);
  }
  cell.verdict = cell_status(cell, std::ssize(judged.coverage.skipped));
  if (!layers.empty()) fill_tables(judged.pairs, layers.front(), cell);
  return judged;
}

/// Every stage of every phase that the oracle convicts; and the largest noise ratio of each, for the map.
struct Convicted {
  std::vector<Conviction> convictions;
  std::vector<StageNoise> noise;
};

/// A prefill of one row is no evidence for prefill where decode is wrong as well, and prefill of more right.
void count_as_one_row(std::vector<Conviction>& convictions, const std::set<At>& right_of_more) {
  std::set<At> in_decode;
  std::set<At> of_more;
  for (const Conviction& conviction : convictions) {
    if (conviction.in == Phase::decode) in_decode.insert(conviction.at);
    if (!is_one_row(*conviction.phase)) of_more.insert(conviction.at);
  }
  for (Conviction& conviction : convictions) {
    const At at = conviction.at;
    if (in_decode.contains(at) && !of_more.contains(at) && right_of_more.contains(at))
      conviction.in = Phase::decode;
  }
}

StageNoise stage_noise(const PhaseRecord& phase, At at, const Event& event, const JudgedStage& judged) {
  return {.phase = phase.view.kind(),
          .layer = at.layer,
          .stage = at.stage,
          .ratio = judged.judgement->noise_ratio,
          .cell = phase.view.cell(),
          .kernel = event.kernel,
          .route = event.route,
          .arithmetic = describe(kernel_declares(phase, at)),
          .picture = judged.picture};
}

Convicted convict(const std::vector<CellRecord>& records, const OraclePass& oracle) {
  Convicted result;
  std::map<std::pair<Phase, At>, StageNoise> noise;
  std::set<At> right_of_more;
  for (const CellRecord& record : records) {
    for (const PhaseRecord* phase : record.phases()) {
      const Phase in = phase->view.kind();
      for (const auto& [at, event] : phase->view.events()) {
        const JudgedStage& judged = *oracle.find(phase->view, at);
        if (!judged.judgement) continue;
        const double ratio = judged.judgement->noise_ratio;
        StageNoise& worst = noise[{in, at}];
        if (worst.picture == nullptr || ratio > worst.ratio) worst = stage_noise(*phase, at, *event, judged);
        if (!judged.is_convicted() && !is_one_row(*phase)) right_of_more.insert(at);
        if (judged.is_convicted())
          result.convictions.push_back({phase, record.cell.key, at, ratio, in, judged.sighting.get()});
      }
    }
  }
  count_as_one_row(result.convictions, right_of_more);
  for (auto& [place, worst] : noise) result.noise.push_back(std::move(worst));
  return result;
}

Places places_of(const std::vector<const PhaseRecord*>& phases, const Convicted& convicted,
                 const OraclePass& oracle) {
  Places places;
  places.wrong = std::ssize(convicted.convictions);
  for (const PhaseRecord* phase : phases) {
    for (const auto& [at, event] : phase->view.events())
      places.judged += oracle.find(phase->view, at)->judgement.has_value();
  }
  const auto earlier = [](const Conviction& a, const Conviction& b) { return a.at < b.at; };
  const Conviction& first = *std::ranges::min_element(convicted.convictions, earlier);
  const std::string layer = first.at.layer == kNoLayer ? "" : fmt::format(" of layer {}", first.at.layer);
  places.first = fmt::format("{}{} in {}", name(first.at.stage), layer, name(first.in));
  return places;
}

void tell_places(const std::vector<CellRecord>& records, const std::vector<const PhaseRecord*>& phases,
                 const OraclePass& oracle, const std::function<void(const Places&)>& tell) {
  const Convicted convicted = convict(records, oracle);
  if (!convicted.convictions.empty()) tell(places_of(phases, convicted, oracle));
}

/// Says what is wrong in the first layer before the others are judged.
void tell_first_layer(std::vector<CellRecord>& records, const std::vector<const PhaseRecord*>& phases,
                      OraclePass::Options options, const std::function<void(const Places&)>& tell) {
  std::map<int, std::set<At>> layers;
  for (const PhaseRecord* phase : phases) {
    for (const auto& [at, event] : phase->view.events()) {
      if (at.layer != kNoLayer) layers[at.layer].insert(at);
    }
  }
  if (layers.size() < 2) return;
  const auto& [layer, stages] = *layers.begin();
  InferredArithmetic inferred;
  for (CellRecord& record : records) record.judge_by(inferred);
  options.only = &stages;
  options.step = {};
  infer_arithmetic(phases, options, inferred, &stages);
  OraclePass oracle(options);
  for (const PhaseRecord* phase : phases) oracle.add(*phase);
  oracle.run();
  const Convicted convicted = convict(records, oracle);
  if (convicted.convictions.empty()) return;
  Places places = places_of(phases, convicted, oracle);
  places.of_layer = layer;
  tell(places);
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
  if (flagged(FlagKind::harness_suspect)) return RunStatus::harness_suspect;
  if (flagged(FlagKind::undeclared_arithmetic)) return RunStatus::undeclared_arithmetic;
  if (some_cell(RunStatus::inconclusive)) return RunStatus::inconclusive;
  if (flagged(FlagKind::inert_factor)) return RunStatus::inert_factor;
  if (flagged(FlagKind::vacuous) || verdict.coverage.recorded == 0) return RunStatus::vacuous;
  return some_cell(RunStatus::rounding) ? RunStatus::rounding : RunStatus::equal;
}

/// decode0 is the last prompt token at its own position.
bool is_aligned(const Bundle& bundle) { return bundle.manifest.value("aligned", true); }

/// Who recorded what, by the manifest.
void describe(const Bundle& bundle, const Model& model, Verdict& verdict) {
  const nlohmann::json& manifest = bundle.manifest;
  const nlohmann::json file = manifest.value("model", nlohmann::json::object());
  const nlohmann::json options = manifest.value("options", nlohmann::json::object());
  verdict.aligned = is_aligned(bundle);
  verdict.bundle = bundle.path;
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

std::vector<int> traced_layers(const Bundle& bundle) {
  std::set<int> layers;
  for (const Event& event : bundle.events) {
    if (event.layer != kNoLayer) layers.insert(event.layer);
  }
  return {layers.begin(), layers.end()};
}

template <class T>
void append(std::vector<T>& to, std::vector<T> more) {
  std::move(more.begin(), more.end(), std::back_inserter(to));
}

void add_coverage(Coverage& to, Coverage more) {
  to.recorded += more.recorded;
  to.judged += more.judged;
  to.propagated += more.propagated;
  to.alone += more.alone;
  append(to.skipped, std::move(more.skipped));
}

/// The one place where a verdict is put together.
Verdict assemble(const Bundle& bundle, const Model& model, std::vector<JudgedCell> cells,
                 std::vector<StageNoise> noise, std::vector<Finding> findings, std::vector<Flag> flags) {
  Verdict verdict;
  verdict.flags = std::move(flags);
  describe(bundle, model, verdict);
  verdict.layers = traced_layers(bundle);
  for (JudgedCell& judged : cells) {
    verdict.cells.push_back(std::move(judged.cell));
    append(verdict.pairs, std::move(judged.pairs));
    append(verdict.flags, std::move(judged.flags));
    add_coverage(verdict.coverage, std::move(judged.coverage));
  }
  verdict.noise = std::move(noise);
  verdict.findings = std::move(findings);
  add_mae(verdict);
  append(verdict.flags, inert_factors(bundle, verdict.cells, verdict.layers));
  if (auto flag = vacuous_projection(bundle)) verdict.flags.push_back(std::move(*flag));
  note_blind_prompts(verdict);
  verdict.status = status_of(verdict);
  return verdict;
}

}  // namespace

Verdict judge(const Bundle& recorded, const Model& model, const JudgeOptions& options) {
  const std::optional<Bundle> finished = with_scale_and_mask(recorded, model);
  const Bundle& bundle = finished ? *finished : recorded;
  demand_known_declarations(bundle);
  std::vector<CellRecord> records = records_of(bundle, model);
  std::vector<const PhaseRecord*> phases;
  for (const CellRecord& record : records) append(phases, record.phases());

  const std::set<At> share = share_of(phases, options.part);
  KnownJudgements own_known, last;
  const OraclePass::Options how = {.threads = options.threads,
                                   .sightings = options.causes != Causes::none,
                                   .only = options.part.is_whole() ? options.only : &share,
                                   .known = options.known == nullptr ? &own_known : options.known,
                                   .last = &last,
                                   .step = options.step};
  if (options.on_places) tell_first_layer(records, phases, how, options.on_places);
  InferredArithmetic inferred;
  for (CellRecord& record : records) record.judge_by(inferred);
  infer_arithmetic(phases, how, inferred, options.only);
  OraclePass oracle(how);
  for (const PhaseRecord* phase : phases) oracle.add(*phase);
  oracle.run();

  // Before what may take some back: that takes longer than to judge.
  if (options.on_places) tell_places(records, phases, oracle, options.on_places);
  std::vector<Flag> flags = withdraw_contradictions(phases, oracle, options.threads);
  withdraw_over_wrong_gaps(phases, oracle);
  append(flags, right_by_what_was_not_read(phases, oracle));
  for (std::string& why : readings_that_differ(model))
    flags.push_back({FlagKind::harness_suspect, {}, "GRETA's own: " + std::move(why)});
  append(flags, logits_of_other_rows(phases));
  Convicted convicted = convict(records, oracle);
  std::vector<Finding> findings = findings_of(convicted.convictions, options.threads, options.causes);
  append(flags, withdraw_undeclared(phases, convicted.convictions, findings, oracle));

  const bool aligned = is_aligned(bundle);
  const std::vector<int> layers = traced_layers(bundle);
  std::vector<JudgedCell> cells(records.size());
  parallel_for(options.threads, records.size(),
               [&](size_t i) { cells[i] = judge_cell(records[i], oracle, model, aligned, layers); });
  Verdict verdict = assemble(bundle, model, std::move(cells), std::move(convicted.noise), std::move(findings),
                             std::move(flags));
  if (!verdict.findings.empty()) add_scopes(phases, oracle, verdict);
  verdict.untested_writes = untested_writes(phases, oracle);
  verdict.arithmetic = kernel_arithmetic(phases);
  verdict.route_differences = route_differences(verdict.arithmetic, phases, verdict.pairs, verdict.findings);
  return verdict;
}

}  // namespace greta

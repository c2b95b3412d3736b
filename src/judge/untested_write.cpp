#include "judge/untested_write.h"

#include <algorithm>
#include <cstring>

#include "bundle/decode0_row.h"

namespace greta {
namespace {

/// Whether decode0's own row of this layer's cache has a key or a value that prefill left there.
bool is_as_prefill_left(const PhaseRecord& decode, At cache) {
  const std::vector<int64_t> positions = recorded_positions(decode, cache);
  if (positions.empty()) return false;
  const std::vector<int64_t> own{*std::ranges::max_element(positions)};
  const auto row = recorded_rows(decode, cache, own), earlier = recorded_rows(*decode.before, cache, own);
  if (!row || !earlier || row->size() != earlier->size()) return false;
  const size_t half = row->size() / 2;
  const auto same = [&](size_t from) {
    return std::memcmp(row->data() + from, earlier->data() + from, half * sizeof(float)) == 0;
  };
  return same(0) || same(half);
}

}  // namespace

std::vector<UntestedWrite> untested_writes(const std::vector<const PhaseRecord*>& phases,
                                           const OraclePass& oracle) {
  std::vector<UntestedWrite> untested;
  for (const PhaseRecord* phase : phases) {
    const nlohmann::json& manifest = phase->view.bundle().manifest;
    const CellKey cell = phase->view.cell();
    if (phase->before == nullptr || !manifest.value("aligned", true) || decode0_row(manifest, cell.prompt))
      continue;
    UntestedWrite write{cell};
    for (const auto& [at, event] : phase->view.events()) {
      if (info(at.stage).kind != StageKind::cache || !has_place(phase->model->config, at)) continue;
      ++write.recorded;
      const JudgedStage* judged = oracle.find(phase->view, at);
      const bool convicted = judged != nullptr && judged->is_convicted();
      write.layers += !convicted && is_as_prefill_left(*phase, at);
    }
    if (write.layers > 0) untested.push_back(write);
  }
  return untested;
}

}  // namespace greta

#include "capture/graph_recorder.h"

#include <algorithm>
#include <cmath>

namespace greta::capture {
namespace {

constexpr const char *kKvBefore = "kv_before", *kKvNext = "kv_next";  // bundle/decode0_row.h
constexpr int64_t kAllRows = 64;  // of a prompt of up to so many all are kept

/// Of a longer one the ends, and what stands at the borders of blocks.
bool is_kept(int64_t row, int64_t count) {
  if (count <= kAllRows || row == 0 || row + 1 == count) return true;
  for (int64_t border = 16; border < count; border *= 2) {
    if (row >= border - 1 && row <= border) return true;
  }
  return false;
}

}  // namespace

GraphRecorder::GraphRecorder(const GraphMap& map, const Batch& batch, const CachePositions& caches,
                             SeenRows& seen)
    : map_(map), batch_(batch), caches_(caches), seen_(seen), untold_(!untold_caches(map).empty()) {}

std::string GraphRecorder::untold_caches(const GraphMap& map) {
  for (const auto& [layer, attention] : map.attention) {
    if (!attention.cached_keys || !attention.cached_values) continue;
    const std::string keys(attention.cached_keys.type()), values(attention.cached_values.type());
    if (!is_readable(keys) || keys != values) return "keys in " + keys + " and values in " + values;
  }
  return "";
}

void GraphRecorder::note(const std::string& text) {
  if (std::find(notes_.begin(), notes_.end(), text) == notes_.end()) notes_.push_back(text);
}

GraphRecorder::Rows GraphRecorder::rows_of(int64_t count) const {
  Rows rows;
  const auto ours = static_cast<int64_t>(batch_.positions.size());
  const std::vector<int64_t>& kept = batch_.output_rows;
  const bool chosen = count != batch_.graph_rows;
  if (chosen && count != static_cast<int64_t>(kept.size())) return rows;
  for (int64_t i = 0; i < ours; ++i) {
    const auto at = static_cast<size_t>(i);
    const auto it = std::find(kept.begin(), kept.end(), batch_.numbers[at]);
    if ((chosen && it == kept.end()) || !is_kept(i, ours)) continue;
    if (untold_ && ours > 1 && batch_.positions[at] == 0) continue;
    rows.numbers.push_back(chosen ? it - kept.begin() : batch_.numbers[at]);
    rows.positions.push_back(batch_.positions[at]);
  }
  return rows;
}

Record& GraphRecorder::add(At place, const std::string& kernel, const Rows& rows,
                           std::vector<int64_t> shape) {
  records_.push_back(
      {.place = place, .kernel = kernel, .positions = rows.positions, .shape = std::move(shape)});
  return records_.back();
}

/// Of an op that is not known what it gave, as rows: it is counted, and not judged.
void GraphRecorder::unknown(Tensor t) {
  constexpr int64_t kMost = 1 << 20;
  const std::string kernel = "ggml." + lower(t.op_name());
  if (!is_readable(t.type()) || !t.is_there() || t.elements() == 0 || t.elements() > kMost)
    return note(kernel + " is not recorded");
  Record record{.place = {}, .kernel = kernel, .positions = {}, .shape = {t.elements() / t.ne(0), t.ne(0)}};
  record.op = lower(t.op_name());
  record.number = records_.size();
  const Values values(t);
  for (int64_t row = 0; row < t.elements() / t.ne(0); ++row)
    values.append_row(record.values, t.ne(0), row % t.ne(1), row / t.ne(1) % t.ne(2),
                      row / t.ne(1) / t.ne(2));
  records_.push_back(std::move(record));
}

void GraphRecorder::computed(const void* address) {
  if (const auto it = map_.unknown.find(address); it != map_.unknown.end()) unknown(it->second);
  const auto [begin, end] = map_.places_of.equal_range(address);
  for (auto it = begin; it != end; ++it) computed(it->second);
}

void GraphRecorder::computed(At place) {
  const StageNode& node = map_.stages.at(place);
  if (!node.tensor.is_there() || !is_readable(node.tensor.type()))
    return note(std::string(name(place.stage)) + " is in a type that is not read");
  switch (place.stage) {
    case Stage::qk:
    case Stage::softmax: return scores(place, node);
    case Stage::pv: return mixed(place, node);
    default: return plain(place, node);
  }
}

void GraphRecorder::plain(At place, const StageNode& node) {
  const Tensor t = node.tensor;
  // Heads may be a dimension of their own; of one row that makes no difference.
  const bool by_expert = info(place.stage).heads == Heads::used || place.stage == Stage::expert_weights;
  const bool heads = t.ne(2) > 1 || batch_.graph_rows == 1 || by_expert;
  const int64_t width = heads ? t.ne(0) * t.ne(1) : t.ne(0), count = heads ? t.ne(2) : t.ne(1);
  const int64_t columns = node.columns > 0 ? node.columns : width;
  const Rows rows = rows_of(count);
  if (rows.numbers.empty()) return;
  const Values values(t);
  Record& record = add(place, node.kernel, rows, {static_cast<int64_t>(rows.numbers.size()), columns});
  std::vector<float> row;
  for (const int64_t number : rows.numbers) {
    row.clear();
    if (!heads) values.append_row(row, width, number);
    for (int64_t head = 0; heads && head < t.ne(1); ++head) values.append_row(row, t.ne(0), head, number);
    const auto first = row.begin() + node.first;
    record.values.insert(record.values.end(), first, first + columns);
  }
}

/// A cache of several streams is seen through a view that begins with one of them.
GraphRecorder::Slots GraphRecorder::slots_in(int layer) const {
  const AttentionMap& attention = map_.attention.at(layer);
  const Tensor view = attention.fused ? map_.stages.at({layer, Stage::pv}).tensor.src(1)
                                      : map_.stages.at({layer, Stage::qk}).tensor.src(0);
  Slots slots{.of_position = caches_.slots(attention.cached_keys, batch_.n_pos())};
  const size_t row = attention.cached_keys.nb(1);
  if (base_of(view) != attention.cached_keys || row == 0) return slots;
  const auto first = static_cast<int64_t>(view.view_offs() / row);
  const auto in_stream = static_cast<int64_t>(view.nb(3) / row);
  if (view.ne(3) > 1) slots.stream = (slots.of_position.back() - first) / in_stream;
  for (int64_t& slot : slots.of_position) slot -= slot < 0 ? 0 : first + slots.stream * in_stream;
  return slots;
}

/// [n_kv, S, heads] -> [S, heads, n_pos], columns in order of positions.
void GraphRecorder::scores(At place, const StageNode& node) {
  const Tensor t = node.tensor;
  const AttentionMap& attention = map_.attention.at(place.layer);
  const bool raw = place.stage == Stage::qk;
  if (raw) read_keys(place.layer, t.src(0));
  if (!attention.plain_scores && raw) return note("scores are changed before the softmax: qk is left out");
  if (attention.scaled_queries && attention.scale != 1 && raw)
    return note("queries and scores are both scaled: qk is left out");
  const std::vector<int64_t> slots = slots_in(place.layer).of_position;
  const Rows rows = rows_of(t.ne(1) * t.ne(3));
  if (rows.numbers.empty()) return;
  const Values values(t);
  const int64_t heads = t.ne(2), n_pos = batch_.n_pos();
  Record& record = add(place, node.kernel, rows, {static_cast<int64_t>(rows.numbers.size()), heads, n_pos});
  record.unscaled = raw && attention.scale != 1;
  record.unmasked = raw;
  record.values.reserve(rows.numbers.size() * static_cast<size_t>(heads * n_pos));
  for (const int64_t row : rows.numbers) {
    for (int64_t head = 0; head < heads; ++head) {
      for (const int64_t slot : slots) {
        const bool there = slot >= 0 && slot < t.ne(0);
        record.values.push_back(there ? values.at(slot, row % t.ne(1), head, row / t.ne(1))
                                : raw ? -INFINITY
                                      : 0);
      }
    }
  }
}

/// What attention gives: of flash attention [dim, heads, S], else [dim, S, heads].
void GraphRecorder::mixed(At place, const StageNode& node) {
  const Tensor t = node.tensor;
  const AttentionMap& attention = map_.attention.at(place.layer);
  if (untold_ && attention.turned_values > 0) return;  // turned back by what nobody would be told of
  const bool fused = attention.fused;
  if (fused) {
    read_keys(place.layer, t.src(1));
    read_values(place.layer, t.src(2), false);
  } else {
    read_values(place.layer, t.src(0), true);
  }
  const int64_t heads = t.ne(fused ? 1 : 2), in_stream = t.ne(fused ? 2 : 1);
  const Rows rows = rows_of(in_stream * t.ne(3));
  if (rows.numbers.empty()) return;
  const Values values(t);
  Record& record =
      add(place, node.kernel, rows, {static_cast<int64_t>(rows.numbers.size()), heads * t.ne(0)});
  for (const int64_t number : rows.numbers) {
    const int64_t row = number % in_stream, stream = number / in_stream;
    for (int64_t head = 0; head < heads; ++head)
      values.append_row(record.values, t.ne(0), fused ? head : row, fused ? row : head, stream);
  }
}

/// A view [dim, n_kv, heads] of cached keys.
void GraphRecorder::read_keys(int layer, Tensor view) {
  if (untold_ || !is_readable(view.type()) || !view.is_there()) return;
  const auto [slots, stream] = slots_in(layer);
  const Values values(view);
  auto& rows = keys_[layer];
  rows.assign(slots.size(), {});
  for (size_t p = 0; p < slots.size(); ++p) {
    if (slots[p] < 0 || slots[p] >= view.ne(1)) continue;
    for (int64_t head = 0; head < view.ne(2); ++head)
      values.append_row(rows[p], view.ne(0), slots[p], head, stream);
  }
}

/// Cached values, [dim, n_kv, heads], or [n_kv, dim, heads] without flash attention; with the keys a layer's
/// cache.
void GraphRecorder::read_values(int layer, Tensor view, bool position_first) {
  if (!is_readable(view.type()) || !view.is_there() || !keys_.contains(layer)) return;
  const auto [slots, stream] = slots_in(layer);
  const Values values(view);
  auto& rows = seen_[layer];
  rows.resize(std::max(rows.size(), slots.size()));
  const int64_t dim = view.ne(position_first ? 1 : 0), n_kv = view.ne(position_first ? 0 : 1);
  for (size_t p = 0; p < slots.size(); ++p) {
    const int64_t slot = slots[p];
    if (slot < 0 || slot >= n_kv) continue;
    std::vector<float> row = keys_[layer][p];
    for (int64_t head = 0; head < view.ne(2); ++head) {
      if (!position_first) values.append_row(row, dim, slot, head, stream);
      for (int64_t d = 0; position_first && d < dim; ++d) row.push_back(values.at(slot, d, head, stream));
    }
    rows[p] = std::move(row);
  }
  write_cache(layer, view.type());
  if (batch_.graph_rows == 1) see_slot(layer, 1, kKvNext);
}

void GraphRecorder::begin() {
  if (batch_.graph_rows != 1) return;
  for (const auto& [layer, attention] : map_.attention) see_slot(layer, 0, kKvBefore);
}

/// The slot so many after the step's own, a row of its kind; nothing where it isn't seen.
void GraphRecorder::see_slot(int layer, int64_t after, const char* as) {
  const bool fused = map_.attention.at(layer).fused;
  const auto mixed = map_.stages.find({layer, Stage::pv}), scores = map_.stages.find({layer, Stage::qk});
  if (untold_ || mixed == map_.stages.end() || (!fused && scores == map_.stages.end())) return;
  const Tensor keys = fused ? mixed->second.tensor.src(1) : scores->second.tensor.src(0);
  const Tensor values = mixed->second.tensor.src(fused ? 2 : 0);
  const auto is_cached = [](Tensor view) {
    return !base_of(view).src(0) && view.is_there() && is_readable(view.type());
  };
  const auto [slots, stream] = slots_in(layer);
  const int64_t slot = slots.back() < 0 ? -1 : slots.back() + after;
  const bool wanted = std::ranges::any_of(map_.places_of, [&](const auto& found) {
    return found.second == At{layer, Stage::pv};
  });
  if (!wanted || !is_cached(keys) || !is_cached(values) || slot < 0 || slot >= keys.ne(1)) return;
  std::vector<float> row;
  const Values key(keys), value(values);
  for (int64_t head = 0; head < keys.ne(2); ++head) key.append_row(row, keys.ne(0), slot, head, stream);
  for (int64_t head = 0; head < values.ne(2); ++head) {
    if (fused) value.append_row(row, values.ne(0), slot, head, stream);
    for (int64_t d = 0; !fused && d < values.ne(1); ++d) row.push_back(value.at(slot, d, head, stream));
  }
  const auto width = static_cast<int64_t>(row.size());
  Record& record = add({layer, Stage::kv_write}, "ggml.set_rows." + std::string(keys.type()),
                       {.numbers = {0}, .positions = {batch_.n_pos() - 1 + after}}, {1, width});
  record.dtype = keys.type();
  record.beside = as;
  record.values = std::move(row);
}

void GraphRecorder::write_cache(int layer, std::string_view type) {
  const auto& rows = seen_[layer];
  Rows all;
  for (int64_t p = 0; p < batch_.n_pos(); ++p) all.positions.push_back(p);
  const auto n_pos = static_cast<size_t>(batch_.n_pos());
  const size_t width = rows.front().size();
  for (size_t p = 0; p < n_pos; ++p) {
    if (rows[p].size() != width || width == 0)
      return note("some rows of a cache were never seen: kv_write is left out");
  }
  const AttentionMap& attention = map_.attention.at(layer);
  std::string kernel = "ggml.set_rows." + std::string(type);
  const std::string keys = std::to_string(attention.turned_keys),
                    values = std::to_string(attention.turned_values);
  if (attention.turned_keys > 0 || attention.turned_values > 0) {
    kernel += ".turned_" + keys + "_" + values;
    declared_[kernel] =
        "{\"op\": \"kv_write\", \"rotation\": " + keys + ", \"rotation_of_values\": " + values + "}";
  }
  Record& record = add({layer, Stage::kv_write}, kernel, all, {batch_.n_pos(), static_cast<int64_t>(width)});
  record.dtype = type;
  for (size_t p = 0; p < n_pos; ++p)
    record.values.insert(record.values.end(), rows[p].begin(), rows[p].end());
}

}  // namespace greta::capture

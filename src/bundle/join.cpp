#include "bundle/join.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <tuple>

#include "base/error.h"

namespace greta {
namespace {

using Place = std::tuple<std::string, std::string, std::string, int, std::string>;

Place place_of(const Event& event) {
  return {event.experiment, event.prompt_id, event.phase, event.layer, event.stage};
}

[[noreturn]] void refuse(const Bundle& bundle, const Event& event, const std::string& why) {
  fail_input("{}: {} {} L{} {} was recorded in several events that are not one: {}", bundle.path,
             name(event.key()), event.phase, event.layer, event.stage, why);
}

/// Rows of one event, all of one width.
struct Rows {
  std::vector<int64_t> positions;
  const std::vector<float>* values;
  size_t width() const { return values->size() / positions.size(); }
  std::span<const float> row(size_t i) const { return std::span(*values).subspan(i * width(), width()); }
};

Rows rows_of(const Bundle& bundle, const Event& event) {
  Rows rows{positions_of(event), bundle.data(event)};
  if (rows.values == nullptr) refuse(bundle, event, "the data of one were not kept");
  if (rows.positions.empty() || rows.values->size() % rows.positions.size() != 0)
    refuse(bundle, event, "its values do not make rows of its positions");
  return rows;
}

/// Of scores and their softmax, [S, heads, n_pos]: what a position holds that the row does not span.
std::optional<float> masked_value(const std::string& stage) {
  const std::optional<Stage> known = stage_from_name(stage);
  if (!known || info(*known).row_per != RowPer::token_head) return std::nullopt;
  return info(*known).kind == StageKind::scores ? -std::numeric_limits<float>::infinity() : 0;
}

std::vector<float> widened(std::span<const float> row, int64_t heads, int64_t n_pos, float filling) {
  std::vector<float> wide;
  const size_t own = row.size() / static_cast<size_t>(heads);
  for (size_t at = 0; at < row.size(); at += own) {
    const auto head = row.subspan(at, own);
    wide.insert(wide.end(), head.begin(), head.end());
    wide.resize(wide.size() + static_cast<size_t>(n_pos) - own, filling);
  }
  return wide;
}

/// [rows, heads, n_pos], as the values have it: a shape may say anything where there are no rows.
bool is_by_head(const Event& event, const Rows& rows) {
  if (event.shape.size() != 3 || event.shape[1] <= 0 || event.shape[2] <= 0) return false;
  const auto width = static_cast<int64_t>(rows.width());
  return width % event.shape[1] == 0 && width / event.shape[1] == event.shape[2];
}

class Joined {
 public:
  Joined(const Bundle& bundle, const Event& first) : bundle_(bundle), event_(first) {}

  void count(const Event& event) {
    if (event.kernel != event_.kernel) {
      refuse(bundle_, event,
             fmt::format("kernels {} and {}; give the second phase a name of its own", event_.kernel,
                         event.kernel));
    }
    const bool alike =
        event.dtype == event_.dtype && event.unscaled == event_.unscaled && event.unmasked == event_.unmasked;
    if (event.shape.size() != event_.shape.size() || !alike) refuse(bundle_, event, "shapes or types differ");
    const Rows rows = rows_of(bundle_, event);
    if (!is_by_head(event, rows)) return;
    n_pos_ = std::max(n_pos_, event.shape[2]);
  }

  void add(const Event& event) {
    const Rows rows = rows_of(bundle_, event);
    const std::optional<float> filling = masked_value(event.stage);
    for (size_t i = 0; i < rows.positions.size(); ++i) {
      const auto own = rows.row(i);
      const bool fits = filling && is_by_head(event, rows);
      put(event, rows.positions[i],
          fits ? widened(own, event.shape[1], n_pos_, *filling) : std::vector<float>(own.begin(), own.end()));
    }
  }

  void store(Bundle& bundle) && {
    std::vector<int64_t> positions;
    std::vector<float> values;
    for (auto& [position, row] : rows_) {
      positions.push_back(position);
      values.insert(values.end(), row.begin(), row.end());
    }
    event_.positions = packed_positions(positions);
    event_.operands.clear();  // of other rows
    if (!event_.shape.empty()) event_.shape[0] = std::ssize(positions);
    if (n_pos_ > 0) event_.shape[2] = n_pos_;
    bundle.add(std::move(event_), std::move(values));
  }

 private:
  void put(const Event& event, int64_t position, std::vector<float> row) {
    const auto [it, fresh] = rows_.try_emplace(position, row);
    if (fresh && !rows_.empty() && rows_.begin()->second.size() != row.size())
      refuse(bundle_, event, "their rows have different widths");
    const bool equal = it->second.size() == row.size() &&
                       std::memcmp(it->second.data(), row.data(), row.size() * sizeof(float)) == 0;
    if (!fresh && !equal) refuse(bundle_, event, fmt::format("two different rows at position {}", position));
  }

  const Bundle& bundle_;
  Event event_;
  int64_t n_pos_ = 0;
  std::map<int64_t, std::vector<float>> rows_;
};

}  // namespace

Bundle joined(Bundle bundle) {
  std::map<Place, std::vector<size_t>> places;
  for (size_t i = 0; i < bundle.events.size(); ++i) {  // ops and their inputs are each by itself
    if (!bundle.events[i].stage.empty()) places[place_of(bundle.events[i])].push_back(i);
  }
  std::map<size_t, Event> whole;  // by the place of the first
  std::vector<char> gone(bundle.events.size());
  Bundle made;
  for (const auto& [place, indices] : places) {
    if (indices.size() < 2) continue;
    const Event& first = bundle.events[indices.front()];
    const bool same = std::all_of(indices.begin(), indices.end(), [&](size_t i) {
      return bundle.events[i].hash == first.hash && bundle.events[i].positions == first.positions;
    });
    for (size_t i = 1; i < indices.size(); ++i) gone[indices[i]] = 1;
    if (same) continue;
    Joined rows(bundle, first);
    for (const size_t i : indices) rows.count(bundle.events[i]);
    for (const size_t i : indices) rows.add(bundle.events[i]);
    std::move(rows).store(made);
    whole.emplace(indices.front(), std::move(made.events.back()));
  }
  std::vector<Event> events;
  for (size_t i = 0; i < bundle.events.size(); ++i) {
    if (gone[i] != 0) continue;
    const auto it = whole.find(i);
    events.push_back(it == whole.end() ? std::move(bundle.events[i]) : std::move(it->second));
  }
  bundle.events = std::move(events);
  bundle.tensors.merge(made.tensors);
  return bundle;
}

}  // namespace greta

#include "judge/hypotheses/condition.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "judge/residual_pattern.h"

namespace greta {
namespace {

using Columns = std::set<int64_t>;

/// Wrong columns of rows of `width`, or of heads of it.
struct WrongColumns {
  Columns wrong;
  int64_t width = 0;
  bool positions = false;  // columns are positions of the cache
};

bool of_positions(Stage stage) {
  return info(stage).kind == StageKind::scores || info(stage).kind == StageKind::weights;
}

/// By elements of a row, or (`heads`) of a head.
std::optional<WrongColumns> wrong_columns(const Evidence& evidence, bool heads) {
  WrongColumns all;
  all.positions = of_positions(evidence.at.stage);
  for (const Observation& seen : evidence.observations) {
    const int64_t width = heads ? seen.head_width() : seen.width;
    if (all.width != 0 && width != all.width && !all.positions) return std::nullopt;
    all.width = std::max(all.width, width);
    for (size_t i = 0; i < seen.observed.size(); ++i) {
      if (seen.is_wrong(i)) all.wrong.insert(static_cast<int64_t>(i) % width);
    }
  }
  if (all.wrong.empty() || std::ssize(all.wrong) == all.width) return std::nullopt;
  return all;
}

/// Most columns of a condition are wrong, or it says nothing.
bool is_mostly(const WrongColumns& columns, const Columns& inside) {
  return 4 * columns.wrong.size() >= 3 * inside.size() && std::ssize(inside) < columns.width;
}

Columns closed(const WrongColumns& columns, const auto& is_inside) {
  Columns inside;
  for (int64_t i = 0; i < columns.width; ++i) {
    if (is_inside(i)) inside.insert(i);
  }
  return inside;
}

/// Runs of 1, 16 or 32 columns, one or some in m.
std::optional<Columns> periodic(const WrongColumns& columns) {
  for (const int64_t unit : {32, 16, 1}) {
    for (const int64_t period : {2, 3, 4, 8, 16, 32, 64}) {
      if (columns.width < 2 * unit * period) continue;
      Columns residues;
      for (const int64_t i : columns.wrong) residues.insert(i / unit % period);
      if (2 * std::ssize(residues) > period) continue;
      const Columns inside = closed(columns, [&](int64_t i) { return residues.contains(i / unit % period); });
      if (is_mostly(columns, inside)) return inside;
    }
  }
  return std::nullopt;
}

std::optional<Columns> panels(const WrongColumns& columns) {
  Columns some;
  for (const int64_t i : columns.wrong) some.insert(i / 16);
  const Columns inside = closed(columns, [&](int64_t i) { return some.contains(i / 16); });
  return is_mostly(columns, inside) ? std::optional(inside) : std::nullopt;
}

/// "16-31 of every 32", "64-225", or the first few.
std::string columns_text(const Columns& inside, Language language) {
  std::vector<std::pair<int64_t, int64_t>> runs;
  for (const int64_t i : inside) {
    if (!runs.empty() && runs.back().second == i - 1) {
      runs.back().second = i;
    } else {
      runs.push_back({i, i});
    }
  }
  const auto length = [](const auto& run) { return run.second - run.first; };
  const int64_t step = runs.size() > 1 ? runs[1].first - runs[0].first : 0;
  bool regular = runs.size() > 2 && length(runs[0]) > 0;
  for (size_t i = 1; i < runs.size() && regular; ++i)
    regular = runs[i].first - runs[i - 1].first == step && length(runs[i]) == length(runs[0]);
  if (!regular && runs.size() > 1 && runs.size() <= 4) {
    std::string text;
    for (const auto& [first, last] : runs)
      text += (text.empty() ? "" : ", ") +
              (first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last));
    return text;
  }
  if (!regular) return index_pattern(inside, language);
  return fmt::format(fmt::runtime(language == Language::english ? "{}-{} of every {}" : "{}-{} de cada {}"),
                     runs[0].first, runs[0].second, step);
}

Condition condition(const WrongColumns& columns, const Columns& inside) {
  Condition found;
  found.inside.assign(static_cast<size_t>(columns.width), 0);
  for (const int64_t i : inside) found.inside[static_cast<size_t>(i)] = 1;
  const auto text = [&](Language language) { return columns_text(inside, language); };
  const char *en = columns.positions ? "positions" : "elements",
             *es = columns.positions ? "posiciones" : "elementos";
  const bool to_end = columns.positions && *inside.rbegin() == columns.width - 1 &&
                      *inside.rbegin() - *inside.begin() + 1 == std::ssize(inside);
  found.where = to_end ? Text{fmt::format("{} from {} on", en, *inside.begin()),
                              fmt::format("{} desde {}", es, *inside.begin())}
                       : Text{fmt::format("{} {} of {}", en, text(Language::english), columns.width),
                              fmt::format("{} {} de {}", es, text(Language::spanish), columns.width)};
  return found;
}

}  // namespace

std::optional<Condition> condition_of(const Evidence& evidence) {
  const auto columns = wrong_columns(evidence, of_positions(evidence.at.stage));
  if (!columns) return std::nullopt;
  const int64_t first = *columns->wrong.begin();
  const int64_t last = columns->positions ? columns->width - 1 : *columns->wrong.rbegin();
  const Columns run = closed(*columns, [&](int64_t i) { return i >= first && i <= last; });
  if (is_mostly(*columns, run)) return condition(*columns, run);
  if (auto inside = periodic(*columns)) return condition(*columns, *inside);
  if (auto inside = panels(*columns)) return condition(*columns, *inside);
  const Columns exact =
      closed(*columns, [&](int64_t i) { return i >= first && i <= *columns->wrong.rbegin(); });
  if (is_mostly(*columns, exact)) return condition(*columns, exact);
  return std::nullopt;
}

Evidence narrowed(Evidence evidence, const Condition& condition) {
  for (Observation& seen : evidence.observations) {
    seen.inside.assign(static_cast<size_t>(seen.width), 0);
    const int64_t of = of_positions(evidence.at.stage) ? seen.head_width() : seen.width;
    for (int64_t i = 0; i < seen.width; ++i) {
      const int64_t column = i % of;
      if (column < std::ssize(condition.inside))
        seen.inside[static_cast<size_t>(i)] = condition.inside[static_cast<size_t>(column)];
    }
  }
  return evidence;
}

}  // namespace greta

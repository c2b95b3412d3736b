// The words of the trace format: the program's tables, docs/trace-format.md and docs/trace.schema.json have
// the same.

#include <gmock/gmock.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "base/rounding.h"
#include "bundle/event.h"
#include "bundle/kernel_fields.h"
#include "io/testing.h"

namespace greta {
namespace {

using Words = std::set<std::string>;

nlohmann::json schema_definitions() {
  const std::string path = std::string(GRETA_SOURCE_DIR) + "/docs/trace.schema.json";
  return nlohmann::json::parse(testing::read_file(path))["$defs"];
}

Words words_of(const nlohmann::json& list) { return list.get<Words>(); }

/// What stands between ` and `, each word of it.
Words typed_in(const std::string& text) {
  static const std::regex kTyped("`([^`]*)`"), kWord("[^ ,]+");
  Words words;
  for (std::sregex_iterator typed(text.begin(), text.end(), kTyped), end; typed != end; ++typed) {
    const std::string inside = (*typed)[1];
    words.insert(std::sregex_token_iterator(inside.begin(), inside.end(), kWord), {});
  }
  return words;
}

/// Of the first table after `mark` in trace-format.md: column `number` (from 1) of all rows, or of the one
/// that begins with `row`. Up to there, cells hold no bars.
std::string column(const std::string& mark, int number, const std::string& row = "") {
  const std::string text = testing::read_file(std::string(GRETA_SOURCE_DIR) + "/docs/trace-format.md");
  const size_t begin = text.find("\n|---", text.find(mark));
  EXPECT_NE(begin, std::string::npos) << mark;
  std::istringstream lines(text.substr(text.find('\n', begin + 1) + 1));
  std::string all;
  for (std::string line; std::getline(lines, line) && line.starts_with("|");) {
    std::istringstream cells(line);
    std::string cell;
    if (!row.empty() && !line.starts_with("| `" + row + "` ")) continue;
    for (int i = 0; i <= number; ++i) std::getline(cells, cell, '|');
    all += cell;
  }
  return all;
}

TEST(TraceVocabulary, WhatAKernelDeclares) {
  Words fields;
  for (const KernelFieldInfo& row : kKernelFields) fields.insert(row.name);
  EXPECT_EQ(typed_in(column("### What a kernel declares", 1)), fields);

  const nlohmann::json kernel =
      schema_definitions()["manifest"]["properties"]["kernels"]["additionalProperties"];
  EXPECT_EQ(kernel["additionalProperties"], false);
  Words told;
  for (const auto& [key, value] : kernel["properties"].items()) told.insert(key);
  EXPECT_EQ(told, fields);
  for (const KernelFieldInfo& row : kKernelFields) {
    const nlohmann::json said = kernel["properties"].value(row.name, nlohmann::json::object());
    switch (row.value) {
      case FieldValue::text:
        EXPECT_TRUE(said.contains("enum") || said == nlohmann::json({{"type", "string"}})) << row.name;
        break;
      case FieldValue::format: EXPECT_EQ(said["$ref"], "#/$defs/rounding") << row.name; break;
      case FieldValue::number: EXPECT_EQ(said["type"], "number") << row.name; break;
      case FieldValue::flag: EXPECT_EQ(said["type"], "boolean") << row.name; break;
      case FieldValue::integer:
        EXPECT_EQ(said["type"], "integer") << row.name;
        EXPECT_EQ(said["minimum"], row.least) << row.name;
        EXPECT_EQ(said.value("maximum", int64_t{std::numeric_limits<int32_t>::max()}), row.most) << row.name;
        break;
    }
  }
}

TEST(TraceVocabulary, Formats) {
  Words formats(kFormatNames.begin(), kFormatNames.end());
  EXPECT_EQ(words_of(schema_definitions()["rounding"]["enum"]), formats);
  formats.erase("f64");  // a note of that table
  formats.erase("i32");  // of token ids alone
  EXPECT_EQ(typed_in(column("| format | values", 1)), formats);
}

TEST(TraceVocabulary, Dtypes) {
  const Words dtypes(kDtypes.begin(), kDtypes.end());
  EXPECT_EQ(words_of(schema_definitions()["format"]["enum"]), dtypes);
  EXPECT_EQ(typed_in(column("## events.jsonl", 4, "dtype")), dtypes);
}

TEST(TraceVocabulary, Stages) {
  Words stages;
  for (const StageInfo& row : kStageTable) stages.insert(std::string(row.name));
  EXPECT_EQ(typed_in(column("Shapes of the stages", 1)), stages);
  Words listed = typed_in(column("## events.jsonl", 4, "stage"));
  EXPECT_EQ(listed, stages);
}

}  // namespace
}  // namespace greta

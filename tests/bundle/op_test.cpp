// Ops of a bundle: read and written again, and what docs/trace-format.md says of them is the table.

#include "bundle/op.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

namespace greta {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const char* kLine =
    R"({"prompt_id": "p", "phase": "decode0", "shape": [2, 3],
  "op": "rope", "inputs": ["x", "weight: f"],
  "attributes": {"base": 10000, "layout": "halves", "scale": true}, "name": "y",
  "hash": "00112233445566778899aabbccddeeff"})";

TEST(OpEvent, IsReadAndWritten) {
  const Event event = event_from_json(nlohmann::json::parse(kLine), "line 1");
  EXPECT_EQ(event.stage, "");
  EXPECT_EQ(event.layer, kNoLayer);
  EXPECT_THAT(event.positions, ElementsAre(0, 1));
  EXPECT_THAT(event.inputs, ElementsAre("x", "weight: f"));
  EXPECT_EQ(word_of(event, "layout", ""), "halves");
  EXPECT_EQ(number_of(event, "scale", 0), 1);
  const Event again = event_from_json(to_json(event), "line 1");
  EXPECT_EQ(again.attributes, event.attributes);
  EXPECT_EQ(again.inputs, event.inputs);
  EXPECT_EQ(again.name, event.name);
}

TEST(OpEvent, WhatIsNotAsTheFormatSaysIsAnError) {
  for (const auto& [pointer, value] : {std::pair<std::string, nlohmann::json>{"/inputs", 3},
                                       {"/inputs", {1}},
                                       {"/attributes", {{"a", {1}}}},
                                       {"/attributes", 3},
                                       {"/op", ""}}) {
    nlohmann::json json = nlohmann::json::parse(kLine);
    json[nlohmann::json::json_pointer(pointer)] = value;
    EXPECT_THROW(event_from_json(json, "line 1"), std::exception) << pointer << value;
  }
}

TEST(OpTable, IsTheDocuments) {
  std::ifstream file(std::filesystem::path(GRETA_SOURCE_DIR) / "docs/trace-format.md");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::string section =
      text.substr(text.find("### Ops"), text.find("### Traps") - text.find("### Ops"));
  for (const OpInfo& op : known_ops()) {
    EXPECT_THAT(section, HasSubstr("`" + std::string(op.name) + "`"));
    for (const AttributeInfo& attribute : op.attributes) {
      if (attribute.name.empty()) continue;
      EXPECT_THAT(section, HasSubstr("`" + std::string(attribute.name) + "`"));
    }
  }
}

}  // namespace
}  // namespace greta

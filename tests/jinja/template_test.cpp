#include "jinja/template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"

namespace greta::jinja {
namespace {

using nlohmann::ordered_json;
using testing::HasSubstr;

/// The variables of tests/goldens/make_jinja.py.
ordered_json variables() {
  return ordered_json::parse(R"({"messages": [{"role": "system", "content": " Be brief.\n"},
    {"role": "user", "content": "Hi, señor"},
    {"role": "assistant", "content": "<think>\nHm\n</think>\n\nHello!"},
    {"role": "user", "content": ""}], "tools": null, "documents": null, "add_generation_prompt": true,
    "bos_token": "<s>", "eos_token": "</s>"})");
}

/// Why a template is refused, or what it printed.
std::string outcome(std::string_view text, bool& refused, const ordered_json& given = variables()) {
  refused = true;
  try {
    std::string out = render(text, "T", given);
    refused = false;
    return out;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    return error.what();
  }
}

std::string refusal(std::string_view text, const ordered_json& given = variables()) {
  bool refused = false;
  const std::string said = outcome(text, refused, given);
  return refused ? said : "not refused: " + said.substr(0, 200);
}

/// What Jinja2 can do and this refuses: what it has no exact answer to, or no template needs.
const std::set<std::string> kRefused = {"{{ messages|first|attr('role') }}", "{{ 'a'.join }}",
                                        "{% for a in [1] recursive %}{% endfor %}"};

TEST(JinjaTemplate, PrintsWhatJinja2Prints) {
  std::ifstream file(GRETA_SOURCE_DIR "/tests/goldens/jinja.json");
  const auto rows = ordered_json::parse(file);
  ASSERT_GT(rows.size(), 700U);
  for (const auto& row : rows) {
    const std::string text = row[0];
    bool refused = false;
    const std::string said = outcome(text, refused);
    if (row[1].is_null() || kRefused.contains(text))
      EXPECT_TRUE(refused) << text << "\nprinted " << said;
    else
      EXPECT_EQ(said, row[1].get<std::string>()) << text;
  }
}

TEST(JinjaTemplate, ARefusalSaysWhatAndWhere) {
  EXPECT_EQ(refusal("a\n{{ 1 }}\n{{ [2]|groupby('x') }}"),
            "T, line 3: the filter 'groupby' is not supported");
  EXPECT_EQ(refusal("a\n{% include 'x' %}"), "T, line 2: the tag 'include' is not supported here");
  EXPECT_EQ(refusal("\n\n{{ raise_exception('roles must alternate') }}"),
            "T, line 3: the template refuses: roles must alternate");
  EXPECT_EQ(refusal("{{ x.y }}"), "T, line 1: 'x' is undefined");
  EXPECT_EQ(refusal("{{ messages[0].tool.name }}"), "T, line 1: 'tool' is undefined");
  EXPECT_EQ(refusal("{{ '\x1b[1m'|nothing }}"), "T, line 1: the filter 'nothing' is not supported");
  EXPECT_THAT(refusal("{{ x('\x1b') }}{{ raise_exception('\x1b[1m') }}"), Not(HasSubstr("\x1b")));
  EXPECT_THAT(refusal("{{ raise_exception('a\x1b[1mb') }}"), HasSubstr("a\\x1b[1mb"));
  EXPECT_EQ(refusal("\xff"), "T: not a UTF-8 text");
  EXPECT_THAT(refusal(std::string((1 << 20) + 1, 'a')), HasSubstr("a template has at most"));
}

std::string repeated(std::string_view text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

// A template is a stranger's program: it ends, in little memory, whatever it says.
TEST(JinjaTemplate, HostileTemplatesEnd) {
  const std::string loops = repeated("{% for a in range(100000) %}", 9) + "x" + repeated("{% endfor %}", 9);
  for (const std::string& text : {
           loops,
           repeated("{% for a in range(100000) %}", 3) + repeated("{% endfor %}", 3),
           std::string("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}"),
           std::string("{{ 'a' * 1000000000000 }}"),
           std::string("{{ [1] * 1000000000000 }}"),
           std::string("{% set ns = namespace(a='a') %}{% for i in range(99) %}{% set ns.a = ns.a ~ ns.a "
                       "%}{% endfor %}"),
           std::string("{% set ns = namespace(a='aa') %}{% for i in range(99) %}{% set ns.a = "
                       "ns.a|replace('a', ns.a) %}"
                       "{% endfor %}"),
           std::string("{% set ns = namespace(a=[]) %}{% for i in range(999) %}{% set ns.a = [ns.a, ns.a] "
                       "%}{% endfor %}"),
           std::string("{% set ns = namespace() %}{% set ns.a = ns %}"),
           std::string("{{ '{}' .format(messages) * 99999 }}"),
           std::string("{% for a in range(100000) %}{{ messages|tojson(indent=64) }}{% endfor %}"),
           std::string("{{ 2 ** 3 ** 999999999 }}"),
           std::string("{{ (0 - 1) ** 9223372036854775807 * 2 ** 64 }}"),
           "{{ " + repeated("(", 5000) + "1" + repeated(")", 5000) + " }}",
           "{{ " + repeated("[", 5000) + repeated("]", 5000) + " }}",
           "{{ " + repeated("not ", 5000) + "1 }}",
           "{{ " + repeated("-", 5000) + "1 }}",
           "{{ 1" + repeated(" + 1", 5000) + " }}",
           "{{ x" + repeated(".x", 5000) + " }}",
           "{{ x" + repeated("|list", 5000) + " }}",
           "{{ " + repeated("1 if 1 else ", 5000) + "1 }}",
           repeated("{% if 1 %}", 5000) + repeated("{% endif %}", 5000),
       }) {
    EXPECT_THAT(refusal(text), testing::StartsWith("T, line 1: ")) << text.substr(0, 100);
  }
}

/// What a long conversation may cost grows with it.
TEST(JinjaTemplate, LongMessagesAreRendered) {
  ordered_json given = variables();
  given["messages"][1]["content"] = std::string(8 << 20, 'a');
  bool refused = false;
  const std::string said =
      outcome("{% for m in messages %}{{ '<|' + m.role + '|>' + m.content|trim + eos_token }}{% endfor %}",
              refused, given);
  EXPECT_FALSE(refused) << said.substr(0, 100);
  EXPECT_GT(said.size(), 8U << 20);
}

TEST(JinjaTemplate, TheDayIsAlwaysTheSame) {
  EXPECT_EQ(render("{{ strftime_now('%d %b %Y') }}", "T", {}), "26 Jul 2024");
  EXPECT_THAT(refusal("{{ strftime_now('%c') }}"), HasSubstr("the date's format"));
}

}  // namespace
}  // namespace greta::jinja

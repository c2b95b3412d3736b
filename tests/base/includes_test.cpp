// The shape of the source tree: who may include whom, who may read the environment, how long a file may be.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace greta {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostLines = 600;    // a longer file is usually two ideas
constexpr size_t kMostColumns = 110;  // as in .clang-format

// The direct arrows of docs/architecture.md. What can be reached along them may be included.
const std::map<std::string, std::set<std::string>> kArrows = {
    {"cli", {"report", "selftest", "experiment", "launch"}},
    {"report", {"verdict", "bundle"}},
    {"launch", {"io"}},
    {"selftest", {"experiment"}},
    {"experiment", {"judge", "fault", "record"}},
    {"judge", {"verdict", "bundle"}},
    {"record", {"engine", "bundle"}},
    {"fault", {"engine"}},
    {"verdict", {"numerics"}},
    {"bundle", {"numerics", "io"}},
    {"engine", {"kernels", "sim", "emulator"}},
    {"emulator", {"gpu", "sim"}},
    {"gpu", {"kernels"}},
    {"sim", {"kernels", "units"}},
    {"numerics", {"model", "units"}},
    {"kernels", {"model", "units"}},
    {"model", {"io", "jinja"}},
    {"jinja", {"base"}},
    {"io", {"base"}},
    {"units", {"base"}},
    {"base", {}},
    {"capture", {"model"}},  // a library for strangers' programs: of ours it has headers, and links nothing
};

std::set<std::string> reachable(const std::string& room) {
  std::set<std::string> rooms = {room};
  for (const std::string& next : kArrows.at(room)) rooms.merge(reachable(next));
  return rooms;
}

struct Source {
  std::string path;  // relative to the repository
  std::string room;
  std::vector<std::string> lines;
};

bool is_code(const fs::path& path) {
  static const std::set<std::string> kExtensions = {".h", ".cpp", ".inc", ".cu", ".cuh", ".hip"};
  return kExtensions.count(path.extension().string()) != 0;
}

/// Text that the build puts into the program: report.html's style and script.
bool is_page(const fs::path& path) { return path.parent_path().filename() == "page"; }

std::vector<Source> read_tree(const std::string& folder) {
  const fs::path root = GRETA_SOURCE_DIR;
  std::vector<Source> sources;
  for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
    if (!entry.is_regular_file() || !is_code(entry.path())) continue;
    const fs::path relative = entry.path().lexically_relative(root);
    Source source{relative.string(), (++relative.begin())->string(), {}};
    std::ifstream file(entry.path());
    for (std::string line; std::getline(file, line);) source.lines.push_back(line);
    sources.push_back(std::move(source));
  }
  return sources;
}

std::string contents(const std::string& path) {
  std::ifstream file(fs::path(GRETA_SOURCE_DIR) / path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string at(const Source& source, size_t line) { return source.path + ":" + std::to_string(line + 1); }

/// The room of `#include "room/file.h"`, or "" if the line includes nothing of ours. Other ways to include (a
/// macro, dots in a path, ours between < and >, a line that goes on) could hide whose a file is: "?".
std::string included_room(const std::string& line) {
  static const std::regex kAnyForm(R"re((#|%:)\s*(/\*.*\*/\s*)?(include|include_next|import|embed)\b)re"
                                   R"re(|^\s*(include|include_next|import)\s*["<])re");
  static const std::regex kOurs(R"re(\s*#\s*include\s*"([^/".]+)/[^".]+\.\w+"\s*)re");
  static const std::regex kLibrary(R"re(\s*#\s*include\s*<([^/>]+)[^>]*>\s*)re");
  const std::string code = line.substr(0, line.find("//"));
  if (!std::regex_search(code, kAnyForm)) return "";
  std::smatch match;
  if (std::regex_match(code, match, kOurs)) return match[1].str();
  return std::regex_match(code, match, kLibrary) && kArrows.count(match[1].str()) == 0 ? "" : "?";
}

bool reads_environment(const std::string& line) {
  static const std::regex kEnvironment(R"re(\b(secure_)?getenv\b|\b_?_?environ\b)re");
  const std::string code = line.substr(0, line.find("//"));
  return std::regex_search(code, kEnvironment);
}

bool prints_text(const std::string& code) {
  static const std::regex kPrint(
      R"re(\b(fmt::v?print(ln)?|v?[fd]?printf|f?puts|f?putc|putchar|fwrite|perror)\s*\()re"
      R"re(|\bstd::c(out|err|log)\b)re");
  return std::regex_search(code, kPrint);
}

/// Columns of a UTF-8 line: bytes that do not continue a character.
size_t columns(const std::string& line) {
  return static_cast<size_t>(
      std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

// The checks below find nothing when they look at nothing or see nothing.
TEST(SourceTree, TheChecksSeeWhatTheyLookFor) {
  EXPECT_GE(read_tree("src").size(), 20U);
  EXPECT_EQ(included_room(R"(#include "kernels/cpu/dot.h")"), "kernels");
  EXPECT_EQ(included_room(R"(  #  include "base/error.h"  // why)"), "base");
  EXPECT_EQ(included_room("#include <vector>"), "");
  EXPECT_EQ(included_room("#include <nlohmann/json.hpp>"), "");
  EXPECT_EQ(included_room("constexpr int kMost = 3;  // #include: none"), "");
  for (const char* hidden :
       {R"(#include "judge/../engine/plan.h")", R"(#include "../engine/plan.h")", R"(#include "plan.h")",
        "#include <engine/plan.h>", R"(/* */ #include "engine/plan.h")", R"(#include /* */ "engine/plan.h")",
        "#include PLAN", "#include \\", R"(include "engine/plan.h")", R"(%:include "engine/plan.h")",
        R"(#include_next "engine/plan.h")", R"(import "engine/plan.h";)"})
    EXPECT_EQ(included_room(hidden), "?") << hidden;
  EXPECT_TRUE(reads_environment(R"(const char* isa = std::getenv("GRETA_ISA");)"));
  EXPECT_TRUE(reads_environment("if (secure_getenv (name)) {"));
  EXPECT_TRUE(reads_environment("const auto ask = &std::getenv;"));
  EXPECT_TRUE(reads_environment("for (char** e = environ; *e; ++e)"));
  EXPECT_FALSE(reads_environment("// the caller calls getenv()"));
  EXPECT_FALSE(reads_environment("bundle.environment = flags;"));
  EXPECT_TRUE(prints_text(R"(fmt::print(stderr, "{}", name);)"));
  EXPECT_TRUE(prints_text("std::fwrite(text.data(), 1, text.size(), stdout);"));
  EXPECT_TRUE(prints_text(R"(fmt::println("{}", name);)"));
  EXPECT_TRUE(prints_text("dprintf(1, name);"));
  EXPECT_FALSE(prints_text(R"(say("{}", name);)"));
  EXPECT_EQ(columns("año"), 3U);
}

// What the verdict is worth rests on who can't see whom.
TEST(SourceTree, WhoJudgesCannotSeeWhoRan) {
  EXPECT_EQ(reachable("judge"), (std::set<std::string>{"judge", "verdict", "bundle", "numerics", "model",
                                                       "units", "jinja", "io", "base"}));
}

TEST(SourceTree, TheReportSeesNeitherJudgeNorEngine) {
  EXPECT_EQ(reachable("report"), (std::set<std::string>{"report", "verdict", "bundle", "numerics", "model",
                                                        "units", "jinja", "io", "base"}));
}

// Of the units' the oracle sees the table: data.
TEST(SourceTree, TheOracleSharesNoArithmeticWithKernelsOrUnits) {
  EXPECT_EQ(reachable("numerics"),
            (std::set<std::string>{"numerics", "model", "units", "jinja", "io", "base"}));
}

TEST(SourceTree, AFaultSharesNothingWithTheHypotheses) {
  EXPECT_FALSE(reachable("fault").contains("judge"));
  EXPECT_FALSE(reachable("fault").contains("numerics"));
  EXPECT_FALSE(reachable("judge").contains("fault"));
}

TEST(SourceTree, IncludesFollowTheArrows) {
  for (const Source& source : read_tree("src")) {
    ASSERT_TRUE(kArrows.count(source.room)) << source.path << ": a room without arrows; add it to kArrows";
    const std::set<std::string> allowed = reachable(source.room);
    for (size_t i = 0; i < source.lines.size(); ++i) {
      const std::string room = included_room(source.lines[i]);
      if (room.empty()) continue;
      ASSERT_NE(room, "?") << at(source, i) << R"(: write #include "room/file.h")";
      EXPECT_TRUE(allowed.count(room))
          << at(source, i) << ": " << source.room << " must not include " << room;
    }
  }
}

TEST(SourceTree, NoFileIsOverlooked) {
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(GRETA_SOURCE_DIR) / "src"))
    EXPECT_TRUE(!entry.is_regular_file() || is_code(entry.path()) || is_page(entry.path()))
        << entry.path() << ": what is it?";
}

TEST(SourceTree, TheDocumentHasTheseArrows) {
  const std::string text = contents("docs/architecture.md");
  const size_t begin = text.find("\n```\n", text.find("Arrows go one way")) + 5;
  static const std::regex kChain(R"re(\w+(, \w+)*( -> \w+(, \w+)*)+)re"), kName(R"re(\w+)re");
  const std::string block = text.substr(begin, text.find("```", begin) - begin);
  std::map<std::string, std::set<std::string>> told = {{"base", {}}};
  for (std::sregex_iterator chain(block.begin(), block.end(), kChain), end; chain != end; ++chain) {
    std::set<std::string> from;
    const std::string links = chain->str() + " -> ";
    for (size_t at = 0, next; (next = links.find(" -> ", at)) != std::string::npos; at = next + 4) {
      const std::string names = links.substr(at, next - at);
      const std::set<std::string> to(std::sregex_token_iterator(names.begin(), names.end(), kName), {});
      for (const std::string& room : from) told[room].insert(to.begin(), to.end());
      from = to;
    }
  }
  EXPECT_EQ(told, kArrows);
}

// What a room is linked with a declaration without an include could reach (tests/base/alone.cpp).
TEST(SourceTree, RoomsAreLinkedAlongTheArrows) {
  const std::string text = contents("CMakeLists.txt");
  static const std::regex kRoom(R"re(greta_room\((\w+) LINKS ([^)]*)\))re"), kLink(R"re(\bgreta_(\w+))re");
  std::map<std::string, std::set<std::string>> links = {
      {"cli", kArrows.at("cli")},           // the program: all
      {"capture", kArrows.at("capture")}};  // headers: below
  for (std::sregex_iterator room(text.begin(), text.end(), kRoom), end; room != end; ++room) {
    std::set<std::string>& linked = links[(*room)[1]];
    const std::string list = (*room)[2];
    for (std::sregex_iterator link(list.begin(), list.end(), kLink); link != end; ++link)
      linked.insert((*link)[1]);
  }
  EXPECT_EQ(links, kArrows);
  EXPECT_EQ(text.find("target_link_libraries(greta_"), std::string::npos)
      << "a room is linked by greta_room()";
  const std::string library = contents("cmake/capture.cmake");
  const size_t begin = library.find("target_link_libraries(");
  ASSERT_NE(begin, std::string::npos);
  const std::string linked = library.substr(begin, library.find("\n)", begin) - begin);
  EXPECT_EQ(std::set<std::string>(std::sregex_token_iterator(linked.begin(), linked.end(), kLink), {}),
            std::set<std::string>{"greta_capture"});
}

// A library that is preloaded is called by nobody who could pass something down: one file of it reads for it.
TEST(SourceTree, OnlyCliReadsTheEnvironment) {
  for (const Source& source : read_tree("src")) {
    if (source.room == "cli" || source.path == "src/capture/settings.cpp") continue;
    for (size_t i = 0; i < source.lines.size(); ++i) {
      EXPECT_FALSE(reads_environment(source.lines[i]))
          << at(source, i) << ": read it in src/cli and pass it down";
    }
  }
}

/// Bytes of strangers leave escaped (base/printable.h): by these few files, and as JSON by one function.
TEST(SourceTree, FewPrint) {
  const std::set<std::string> prints = {"src/cli/main.cpp", "src/cli/output.cpp", "src/cli/output.h",
                                        "src/cli/progress.cpp"};
  for (const Source& source : read_tree("src")) {
    for (size_t i = 0; i < source.lines.size(); ++i) {
      const std::string code = source.lines[i].substr(0, source.lines[i].find("//"));
      EXPECT_FALSE(prints_text(code) && prints.count(source.path) == 0) << at(source, i) << ": say() prints";
      const bool dumps = code.find("dump(") != std::string::npos;
      EXPECT_FALSE(dumps && !source.path.ends_with("/json_fields.cpp"))
          << at(source, i) << ": dump_json() makes JSON";
    }
  }
}

TEST(SourceTree, FilesAndLinesAreShort) {
  for (const char* folder : {"src", "tests"}) {
    for (const Source& source : read_tree(folder)) {
      EXPECT_LE(source.lines.size(), kMostLines) << source.path;
      for (size_t i = 0; i < source.lines.size(); ++i) {
        EXPECT_LE(columns(source.lines[i]), kMostColumns) << at(source, i);
      }
    }
  }
}

}  // namespace
}  // namespace greta

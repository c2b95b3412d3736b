// Bytes of strangers on their way out: what printable() and its kin make of any bytes, in any pieces, is
// well-formed UTF-8 without what steers a terminal, also of the message of a GGUF file or a bundle that is
// refused.

#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/printable.h"
#include "base/utf8.h"
#include "bundle/bundle_files.h"
#include "io/json_fields.h"
#include "model/gguf.h"
#include "model/model.h"
#include "report/document.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

/// By the bytes, not by is_hidden().
void require_clean(const std::string& text, std::string_view kept) {
  require(greta::utf8_valid_prefix(text) == text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::string_view rest = std::string_view(text).substr(i);
    require((byte >= 0x20 && byte != 0x7f) || kept.find(text[i]) != std::string_view::npos);
    require(byte != 0xc2 || static_cast<unsigned char>(rest[1]) >= 0xa0);
    require(!rest.starts_with("\xe2\x80") || rest[2] < '\xa8' || rest[2] > '\xae');
    require(!rest.starts_with("\xe2\x81") || rest[2] < '\xa6' || rest[2] > '\xa9');
  }
}

/// The first byte says how long the pieces are.
void check_pieces(std::string_view text) {
  if (text.empty()) return;
  const size_t size = 1 + static_cast<unsigned char>(text[0]) % 7;
  greta::PrintableStream stream;
  std::string shown;
  for (size_t at = 0; at < text.size(); at += size) shown += stream.add(text.substr(at, size));
  shown += stream.end();
  require(shown == greta::printable_lines(text));
}

void check_json(const std::string& text) {
  const nlohmann::json document = {{text, {text, 1}}};
  const std::string json = greta::dump_json(document, 1);
  require_clean(json, "\n");
  const nlohmann::json back = nlohmann::json::parse(json);
  if (greta::utf8_valid_prefix(text) == text.size()) require(back == document);
}

template <class Read>
void check_message(Read read) {
  try {
    read();
  } catch (const greta::Error& error) {
    require_clean(greta::printable(error.what()), "");
  }
}

/// Every printer shows a text without hidden characters; a cell of a Markdown table has no bar of its own.
void check_documents(const std::string& text) {
  using namespace greta::report;
  const Document document{Heading{1, text}, Paragraph{text, text}, List{{{text, {text}}}, true, text},
                          Table{{{text}}, {{text}}}};
  require_clean(to_markdown(document), "\n");
  require_clean(to_text(document), "\n");
  require_clean(to_terminal(document, 80, false), "\n");
  const std::string table = to_markdown({Table{{{"head"}}, {{text}}}});
  int bars = 0;  // two a line, three lines
  for (size_t i = 0; i < table.size(); ++i) bars += table[i] == '|' && (i == 0 || table[i - 1] != '\\');
  require(bars <= 6);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const std::string shown = greta::printable(text);
  require_clean(shown, "");
  require(greta::printable(shown) == shown);
  require_clean(greta::printable_lines(text), "\n\t");
  check_documents(text);
  check_pieces(text);
  check_json(text);
  const auto bytes = std::as_bytes(std::span(data, size));
  check_message([&] { greta::bind_model(greta::parse_gguf(bytes, text)); });
  check_message(
      [&] { greta::parse_bundle(text, [bytes](const std::string&) { return std::optional(bytes); }); });
  return 0;
}

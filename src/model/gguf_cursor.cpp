#include "model/gguf_cursor.h"

#include "base/printable.h"
#include "base/utf8.h"

namespace greta {

std::string excerpt(std::string_view text) {
  constexpr size_t kLongest = 80;
  return printable(utf8_head(text, kLongest)) + (text.size() > kLongest ? "..." : "");
}

std::span<const std::byte> GgufCursor::take(uint64_t size, std::string_view what) {
  if (size > remaining()) {
    fail("{} needs {} bytes, but only {} remain; the file is cut short or damaged, fetch it again", what,
         size, remaining());
  }
  const auto taken = bytes_.subspan(offset_, size);
  offset_ += size;
  return taken;
}

std::string_view GgufCursor::read_string(std::string_view what) {
  const auto size = read<uint64_t>(what);
  const auto text = take(size, what);
  return {reinterpret_cast<const char*>(text.data()), text.size()};
}

void GgufCursor::check_count(uint64_t count, uint64_t min_bytes, std::string_view what) const {
  if (count > remaining() / min_bytes) {
    fail("{} {} cannot fit in the {} bytes that remain; the file is cut short or damaged, fetch it again",
         count, what, remaining());
  }
}

std::string GgufCursor::place() const {
  std::string text = fmt::format("byte {}", offset_);
  if (!section_.empty()) text += fmt::format(", {} {}", section_, index_);
  if (!name_.empty()) text += fmt::format(" ('{}')", excerpt(name_));
  return text;
}

}  // namespace greta

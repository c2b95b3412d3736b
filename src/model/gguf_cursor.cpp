#include "model/gguf_cursor.h"

namespace greta {

std::string printable(std::string_view text) {
  constexpr size_t kLongest = 80;
  std::string result;
  for (const char c : text.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      result += fmt::format("\\x{:02x}", byte);
    } else {
      result += c;
    }
  }
  if (text.size() > kLongest) result += "...";
  return result;
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
  if (!name_.empty()) text += fmt::format(" ('{}')", printable(name_));
  return text;
}

}  // namespace greta

#pragma once
// Bytes of strangers for tests: a small model whose every string can be replaced, and what output must look
// like.

#include <gmock/gmock.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "engine/tiny_model.h"
#include "model/tiny_tokenizer.h"

namespace greta::test {

/// A title for the terminal, a line break, DEL, CSI as a byte and as a character, a change of direction, and
/// what breaks tables.
inline const std::string kHostile = "\x1b]0;x\x07\n\x7f\xff\x9b\u009b\u202e|`";
/// The same as JSON can hold it.
inline const std::string kHostileText = "\x1b]0;x\x07\n\x7f\u009b\u202e|`";

/// Well-formed UTF-8; of controls line breaks and tabs only; nothing that changes direction. By the bytes:
/// the program's own idea of it is under test.
inline void expect_clean(const std::string& text, const std::string& what) {
  ASSERT_EQ(utf8_valid_prefix(text), text.size()) << what << ": no UTF-8";
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::string_view rest = std::string_view(text).substr(i);
    const bool control = (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f;
    const bool c1 = byte == 0xc2 && static_cast<unsigned char>(rest[1]) < 0xa0;
    const bool turns = rest.starts_with("\u202e") || rest.starts_with("\u2028") || rest.starts_with("\u2066");
    ASSERT_FALSE(control || c1 || turns) << what << ": byte " << i << " of:\n" << text;
  }
}

/// All rows of a Markdown table have as many cells as its head; an escaped bar (\|) is text.
inline void expect_tables_whole(const std::string& markdown, const std::string& what) {
  std::ptrdiff_t bars = 0;
  std::istringstream lines(markdown);
  for (std::string line; std::getline(lines, line);) {
    std::ptrdiff_t here = 0;
    for (size_t i = 0; line.starts_with("|") && i < line.size(); ++i)
      here += line[i] == '|' && (i == 0 || line[i - 1] != '\\');
    EXPECT_TRUE(here == 0 || bars == 0 || here == bars) << what << ": " << line;
    bars = here;
  }
}

/// A llama of one layer that speaks tiny_bpe(), all of f32.
inline GgufBuilder speaking_llama() {
  GgufBuilder file = tiny_bpe();
  file.set_string("general.architecture", "llama")
      .set_string("general.name", "tiny")
      .set<uint32_t>("llama.block_count", 1)
      .set<uint32_t>("llama.context_length", 4096)
      .set<uint32_t>("llama.embedding_length", 32)
      .set<uint32_t>("llama.feed_forward_length", 32)
      .set<uint32_t>("llama.attention.head_count", 2)
      .set<uint32_t>("llama.attention.head_count_kv", 2)
      .set<float>("llama.attention.layer_norm_rms_epsilon", 1e-5f)
      .set<uint32_t>("llama.rope.dimension_count", 16)
      .set_string("tokenizer.chat_template", "{{ messages }}");
  Noise noise(5);
  const auto add = [&](const std::string& name, const std::vector<uint64_t>& dims) {
    file.add_f32(name, dims);
    Bytes data;
    for (size_t i = 0; i < file.tensors.back().data.size() / 4; ++i) data += raw(noise.next());
    file.tensors.back().data = data;
  };
  add("token_embd.weight", {32, 263});
  add("output_norm.weight", {32});
  add("output.weight", {32, 263});
  add("blk.0.attn_norm.weight", {32});
  add("blk.0.ffn_norm.weight", {32});
  for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"})
    add("blk.0." + std::string(name) + ".weight", {32, 32});
  return file;
}

/// Where the strings of a header lie: keys, values, the first two of an array, names of tensors.
class HeaderStrings {
 public:
  struct Place {
    size_t at, size;  // of the length and the text
  };

  explicit HeaderStrings(const GgufBuilder& file) : header_(file.header()), at_(8) {
    const auto tensors = take<uint64_t>(), entries = take<uint64_t>();
    for (uint64_t i = 0; i < entries; ++i) {
      string(true);
      value(take<uint32_t>());
    }
    for (uint64_t i = 0; i < tensors; ++i) {
      string(true);
      at_ += take<uint32_t>() * 8 + 12;  // dims, type, offset
    }
    const Bytes whole = file.build();
    data_ = whole.substr((header_.size() + 31) / 32 * 32);
  }

  const std::vector<Place>& places() const { return places_; }
  std::string text(const Place& place) const { return header_.substr(place.at + 8, place.size - 8); }

  /// The file with another string in that place.
  Bytes with(const Place& place, const std::string& text) const {
    Bytes file = header_;
    file.replace(place.at, place.size, raw_string(text));
    file.resize((file.size() + 31) / 32 * 32, '\0');
    return file + data_;
  }

 private:
  template <class T>
  T take() {
    T value;
    std::memcpy(&value, header_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  void string(bool keep) {
    const size_t begin = at_;
    at_ += take<uint64_t>();
    if (keep) places_.push_back({begin, at_ - begin});
  }
  void value(uint32_t type) {
    if (type == kGgufString) return string(true);
    if (type != kGgufArray) {
      at_ += kSizes.at(type);
      return;
    }
    const auto element = take<uint32_t>();
    const auto count = take<uint64_t>();
    for (uint64_t i = 0; i < count; ++i) {
      if (element == kGgufString) {
        string(i < 2);
      } else {
        at_ += kSizes.at(element);
      }
    }
  }

  static constexpr std::array<size_t, 13> kSizes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  Bytes header_, data_;
  size_t at_;
  std::vector<Place> places_;
};

}  // namespace greta::test

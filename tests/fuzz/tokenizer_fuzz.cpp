// Any header is a tokenizer or an input Error, and any bytes are text: never a crash, a hang or a loss.
// The first byte chooses: even, the rest is a GGUF file;
// odd, the rest is text for one of three small vocabularies.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

#include "../model/tiny_tokenizer.h"
#include "base/error.h"
#include "model/gguf.h"
#include "model/tokenizer.h"

namespace {

using greta::Tokenizer;

void check_round_trip(const Tokenizer& tokenizer, std::string_view text, bool parse_special) {
  const auto ids = tokenizer.encode(text, true, parse_special);
  for (const auto id : ids) {
    if (id < 0 || id >= tokenizer.vocab_size()) std::abort();
  }
  const bool has_space_mark = text.find("\u2581") != text.npos;  // SentencePiece gives it back as a space
  const std::string out = tokenizer.decode(ids);
  const size_t bos = tokenizer.adds_bos() ? std::string_view("<s>").size() : 0;
  if (!has_space_mark && out.substr(bos) != text) std::abort();
}

void encode_with_small_vocabularies(std::string_view text, bool parse_special) {
  using greta::test::tiny_bpe, greta::test::tiny_spm, greta::test::tokenizer_of;
  static const Tokenizer bpe = tokenizer_of(tiny_bpe());
  static const Tokenizer digits = tokenizer_of(tiny_bpe().set_string("tokenizer.ggml.pre", "smollm"));
  static const Tokenizer spm = tokenizer_of(tiny_spm());
  check_round_trip(bpe, text, parse_special);
  check_round_trip(digits, text, parse_special);
  check_round_trip(spm, text, parse_special);
}

void read_header(std::span<const std::byte> bytes) {
  try {
    const Tokenizer tokenizer = Tokenizer::from(greta::parse_gguf(bytes, "fuzz"));
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    tokenizer.decode(tokenizer.encode(text, true), false);
  } catch (const greta::Error& error) {
    if (error.kind() != greta::ErrorKind::input) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto rest = std::as_bytes(std::span(data, size)).subspan(1);
  if (data[0] % 2 == 0) {
    read_header(rest);
  } else {
    encode_with_small_vocabularies({reinterpret_cast<const char*>(rest.data()), rest.size()},
                                   data[0] % 4 == 1);
  }
  return 0;
}

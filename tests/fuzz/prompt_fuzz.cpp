// A prompt file with any bytes is a prompt or an input Error that says why, and what is taken is kept byte
// for byte and encodes to tokens of the vocabulary.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "../model/tiny_tokenizer.h"
#include "base/error.h"
#include "model/prompt.h"
#include "model/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  static const greta::Tokenizer tokenizer = greta::test::tokenizer_of(greta::test::tiny_bpe());
  try {
    const greta::Prompt prompt = greta::prompt_of_file("dir/name.txt", bytes);
    if (prompt.text != bytes || prompt.id != "name") std::abort();
    for (const auto id : tokenizer.encode(prompt.text, true)) {
      if (id < 0 || id >= tokenizer.vocab_size()) std::abort();
    }
  } catch (const greta::Error& error) {
    if (error.kind() != greta::ErrorKind::input) std::abort();
  }
  return 0;
}

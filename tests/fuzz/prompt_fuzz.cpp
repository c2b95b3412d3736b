// A prompt file with any bytes is a prompt or an input Error that says why, and what is taken is kept byte
// for byte and encodes to tokens of the vocabulary.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "../model/tiny_tokenizer.h"
#include "base/error.h"
#include "model/prompt.h"
#include "model/tokenizer.h"

namespace {

/// A file in memory, gone with the object.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : fd_(memfd_create("prompt", 0)) {
    if (fd_ < 0 || write(fd_, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) std::abort();
  }
  ~MemoryFile() { close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  static const greta::Tokenizer tokenizer = greta::test::tokenizer_of(greta::test::tiny_bpe());
  try {
    const MemoryFile file(bytes);
    const greta::Prompt prompt = greta::load_prompt(file.path());
    if (prompt.text != bytes) std::abort();
    for (const auto id : tokenizer.encode(prompt.text, true)) {
      if (id < 0 || id >= tokenizer.vocab_size()) std::abort();
    }
  } catch (const greta::Error& error) {
    if (error.kind() != greta::ErrorKind::input) std::abort();
  }
  return 0;
}

#include "model/prompt.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/utf8.h"
#include "model/chat_template.h"

namespace greta {
namespace {

struct BuiltIn {
  std::string_view name, text;
};

// The same texts as prompts/*.txt (a test compares them): compiled in, so that an installed program has them.
constexpr std::array<BuiltIn, 4> kBuiltIn{{
    {"p0_short", "Hi"},
    {"p4_sys",
     "<|im_start|>system\nYou are a helpful assistant. Answer briefly.<|im_end|>\n"
     "<|im_start|>user\nHi<|im_end|>\n"
     "<|im_start|>assistant\n"},
    {"p5_ba", "Write one short sentence about Buenos Aires."},
    {"p6_long",
     "The old port of La Boca wakes before the sun. Fishermen mend their nets while the first ferries "
     "cross the dark water, and the smell of coffee drifts out of the corner bars where dock workers argue"
     " about football. A painter sets up her easel beside the coloured houses, mixing the same blue that "
     "her grandfather used for the doors of his ship. By nine o'clock the tourists arrive with cameras and"
     " maps, and the street musicians tune their bandoneons. In the afternoon a storm rolls in from the "
     "river; shutters close one after another, the colours fade to grey, and for an hour the only sound is"
     " rain on tin roofs. When the sky clears, children run out to sail paper boats along the gutters, and"
     " an old man sweeps the water from his doorstep, exactly as he has done every day for fifty years. At"
     " night the lights of the bridge shine on the wet stones, the last tango ends, and the port goes back"
     " to sleep until the fishermen return. Write a summary of this text in two sentences, and then list "
     "the three most important colours that it mentions."},
}};

/// A file's name may have blanks, too, but ends as files of texts do.
bool is_text(std::string_view prompt) {
  return prompt.find_first_of(" \t\n") != std::string_view::npos && !prompt.ends_with(".txt");
}

}  // namespace

std::vector<std::string_view> built_in_prompts() {
  std::vector<std::string_view> names;
  for (const BuiltIn& prompt : kBuiltIn) names.push_back(prompt.name);
  return names;
}

bool is_built_in_prompt(std::string_view name) {
  return std::ranges::find(kBuiltIn, name, &BuiltIn::name) != kBuiltIn.end();
}

Prompt load_prompt(const std::string& name_or_path) {
  const auto found = std::ranges::find(kBuiltIn, name_or_path, &BuiltIn::name);
  if (found != kBuiltIn.end()) return {name_or_path, std::string(found->text)};
  std::error_code ignored;
  if (!std::filesystem::exists(name_or_path, ignored)) {
    if (is_text(name_or_path)) return prompt_of_text(name_or_path);
    fail_input(
        "prompt '{}' is no text (that has a blank) and neither built in (p0_short, p4_sys, p5_ba, p6_long) "
        "nor a file",
        name_or_path);
  }
  if (std::filesystem::is_fifo(name_or_path, ignored)) {  // a shell's <(command)
    std::ifstream pipe(name_or_path, std::ios::binary);
    return prompt_of_file(name_or_path, std::string(std::istreambuf_iterator<char>(pipe), {}));
  }
  const MappedFile file(name_or_path);
  return prompt_of_file(name_or_path, file.text());
}

Prompt prompt_of_text(const std::string& text) {
  const size_t valid = utf8_valid_prefix(text);
  if (valid != text.size()) fail_input("the prompt is not a UTF-8 text (byte {})", valid);
  return {"text", text};
}

Prompt prompt_of_file(const std::string& path, std::string_view bytes) {
  const size_t valid = utf8_valid_prefix(bytes);
  const bool utf16 = bytes.starts_with("\xff\xfe") || bytes.starts_with("\xfe\xff");
  if (utf16) fail_input("{}: begins as UTF-16 does: save it as UTF-8", path);
  if (valid != bytes.size()) fail_input("{}: not a UTF-8 text (byte {}): a prompt must be one", path, valid);
  return {std::filesystem::path(path).stem().string(), std::string(bytes)};
}

Prompt encoded(Prompt prompt, const Tokenizer& tokenizer) {
  prompt.tokens = tokenizer.encode(prompt.text, tokenizer.adds_bos());
  return prompt;
}

std::vector<TokenId> vocabulary_walk(int64_t n, int64_t n_vocab, int64_t start) {
  std::vector<TokenId> tokens;
  for (int64_t i = 0; i < n; ++i) tokens.push_back(static_cast<TokenId>((i * 7919 + start) % n_vocab));
  return tokens;
}

Prompt load_prompt(const std::string& name_or_path, const ModelFile& file) {
  Prompt prompt = load_prompt(name_or_path);
  if (name_or_path != "p4_sys") return prompt;
  const std::array<ChatMessage, 2> messages{
      {{"system", "You are a helpful assistant. Answer briefly."}, {"user", "Hi"}}};
  if (file.find_string("tokenizer.chat_template")) {
    try {
      prompt.text = apply_chat_template(file, messages);
      return prompt;
    } catch (const Error& error) {  // it has no place for a system message, or is none
      if (error.kind() != ErrorKind::input) throw;
    }
  }
  if (const auto by_tokens = template_by_tokens(file))
    prompt.text = render_chat(*by_tokens, "the family's template", {}, messages);
  return prompt;
}

}  // namespace greta

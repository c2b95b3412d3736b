#pragma once
// The prompts that GRETA brings (those of B3.31), and prompts from files.

#include <string>
#include <string_view>
#include <vector>

#include "model/model_file.h"
#include "model/tokenizer.h"

namespace greta {

struct Prompt {
  std::string id;                    // the built-in name, or the stem of the file
  std::string text;                  // UTF-8
  std::vector<TokenId> tokens = {};  // of the text; see encoded()
};

/// Names of the built-in prompts: p0_short, p4_sys, p5_ba, p6_long.
std::vector<std::string_view> built_in_prompts();
bool is_built_in_prompt(std::string_view name);

/// A built-in prompt by its name, the text of the UTF-8 file at a path, byte for byte (a last newline is
/// kept), or what has a blank as the text that it is. p4_sys is written in ChatML. Throws an input Error for
/// what is none of them, listing the built-in names, and for what is not UTF-8.
Prompt load_prompt(const std::string& name_or_path);

/// The same for a model: p4_sys is written by the model's own chat template; where it has none, or one that
/// refuses a system message, as models with its tokens write turns, or else in ChatML.
Prompt load_prompt(const std::string& name_or_path, const ModelFile& file);

/// The prompt with its tokens: special ones are parsed, BOS stands where the model asks for it.
Prompt encoded(Prompt prompt, const Tokenizer& tokenizer);

/// n ids that walk through the vocabulary from `start`, for runs in which it does not matter what they say.
std::vector<TokenId> vocabulary_walk(int64_t n, int64_t n_vocab, int64_t start = 13);

/// The prompt called "text". Throws an input Error where it is not UTF-8.
Prompt prompt_of_text(const std::string& text);

/// The prompt that a file at `path` with these bytes is. Throws as load_prompt does.
Prompt prompt_of_file(const std::string& path, std::string_view bytes);

}  // namespace greta

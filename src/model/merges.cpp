#include "model/merges.h"

#include <queue>

#include "base/error.h"
#include "model/gguf_cursor.h"

namespace greta {
namespace {

uint64_t pair_key(TokenId left, TokenId right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

/// A link of the chain of symbols that a word still has.
struct Symbol {
  TokenId id;
  int32_t previous, next;  // -1 at the ends
  bool alive = true;
};

/// A merge that was possible when it was noted.
struct Candidate {
  uint32_t rank;
  int32_t left, right;  // symbols
  TokenId left_id, right_id, result;
  /// Lowest rank first, then leftmost.
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : left > other.left;
  }
};

}  // namespace

void Merges::add(TokenId left, TokenId right, TokenId result) {
  merges_.try_emplace(pair_key(left, right), Merge{added_++, result});
}

const Merges::Merge* Merges::find(TokenId left, TokenId right) const {
  if (left < 0 || right < 0) return nullptr;
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void Merges::apply(std::vector<TokenId>& ids) const {
  std::vector<Symbol> symbols;
  symbols.reserve(ids.size());
  const auto count = static_cast<int32_t>(ids.size());
  for (int32_t i = 0; i < count; ++i)
    symbols.push_back({ids[static_cast<size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1});
  const auto at = [&](int32_t i) -> Symbol& { return symbols[static_cast<size_t>(i)]; };
  std::priority_queue<Candidate> candidates;
  const auto note = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    if (const Merge* merge = find(at(left).id, at(right).id)) {
      candidates.push({merge->rank, left, right, at(left).id, at(right).id, merge->result});
    }
  };
  for (int32_t i = 1; i < count; ++i) note(i - 1, i);
  while (!candidates.empty()) {
    const Candidate best = candidates.top();
    candidates.pop();
    Symbol &left = at(best.left), &right = at(best.right);
    if (!left.alive || !right.alive || left.id != best.left_id || right.id != best.right_id)
      continue;  // outdated
    left.id = best.result;
    left.next = right.next;
    right.alive = false;
    if (right.next >= 0) at(right.next).previous = best.left;
    note(left.previous, best.left);
    note(best.left, left.next);
  }
  ids.clear();
  for (int32_t i = count > 0 ? 0 : -1; i >= 0; i = at(i).next) {
    if (at(i).id >= 0) ids.push_back(at(i).id);
  }
}

Merges read_merges(const ModelFile& file, const Vocab& vocab) {
  const GgufArray* list = file.find_strings("tokenizer.ggml.merges");
  if (!list) fail_input("{}: tokenizer.ggml.merges is missing: the tokenizer needs it", file.path());
  Merges merges;
  merges.reserve(list->strings.size());
  for (size_t i = 0; i < list->strings.size(); ++i) {
    const std::string_view merge = list->strings[i];
    const size_t space = merge.find(' ', 1);
    if (merge.empty() || space == std::string_view::npos || space + 1 == merge.size()) {
      fail_input("{}: tokenizer.ggml.merges[{}] is '{}'; expected two tokens with a space between them",
                 file.path(), i, excerpt(merge));
    }
    const std::string_view left = merge.substr(0, space), right = merge.substr(space + 1);
    const auto id = [&](std::string_view text) {
      const auto found = vocab.find(text);
      if (!found)
        fail_input("{}: tokenizer.ggml.merges[{}] needs '{}', which is not a token", file.path(), i,
                   excerpt(text));
      return *found;
    };
    const TokenId left_id = id(left), right_id = id(right);
    // Every merge makes a longer text, so merging ends: no cycle can be written down.
    merges.add(left_id, right_id, id(std::string(left).append(right)));
  }
  return merges;
}

}  // namespace greta

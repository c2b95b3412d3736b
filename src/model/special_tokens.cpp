#include "model/special_tokens.h"

#include <algorithm>

namespace greta {
namespace {

constexpr bool is_ascii_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

uint64_t edge(int32_t node, char byte) {
  return static_cast<uint64_t>(node) * 256 + static_cast<unsigned char>(byte);
}

}  // namespace

SpecialTokens::SpecialTokens(const Vocab& vocab, std::vector<bool> strips_right)
    : vocab_(vocab), strips_right_(std::move(strips_right)), nodes_(1) {
  for (TokenId id = 0; id < vocab.size(); ++id) {
    if (!is_wanted(id, true) || vocab.text(id).empty()) continue;
    int32_t node = 0;
    for (const char byte : vocab.text(id)) {
      const auto [at, fresh] = children_.emplace(edge(node, byte), static_cast<int32_t>(nodes_.size()));
      if (fresh) nodes_.push_back({-1, node, nodes_[static_cast<size_t>(node)].depth + 1});
      node = at->second;
    }
    nodes_[static_cast<size_t>(node)].id = id;
    starts_[static_cast<unsigned char>(vocab.text(id)[0])] = true;
    longest_ = std::max(longest_, vocab.text(id).size());
  }
  // Parents come before children: one pass turns "the node above" into "the token above".
  for (size_t i = 1; i < nodes_.size(); ++i) {
    const Node& above = nodes_[static_cast<size_t>(nodes_[i].parent)];
    if (above.id < 0) nodes_[i].parent = above.parent;
  }
}

bool SpecialTokens::is_wanted(TokenId id, bool parse_special) const {
  return vocab_.kind(id) == TokenKind::user_defined || (parse_special && vocab_.is_protocol(id));
}

int32_t SpecialTokens::shorter(int32_t node, bool parse_special) const {
  do node = nodes_[static_cast<size_t>(node)].parent;
  while (node != 0 && !is_wanted(nodes_[static_cast<size_t>(node)].id, parse_special));
  return node;
}

int32_t SpecialTokens::longest_at(std::string_view text, size_t at, bool parse_special) const {
  int32_t node = 0, best = 0;
  for (; at < text.size(); ++at) {
    const auto next = children_.find(edge(node, text[at]));
    if (next == children_.end()) break;
    node = next->second;
    const TokenId id = nodes_[static_cast<size_t>(node)].id;
    if (id >= 0 && is_wanted(id, parse_special)) best = node;
  }
  return best;
}

// Longer tokens take their places first. Each position holds one candidate, its longest; when that place
// turns out to be taken the position falls back to the next shorter token that starts there.
std::vector<SpecialTokens::Match> SpecialTokens::claim(std::string_view text, bool parse_special,
                                                       std::vector<bool>& claimed) const {
  std::vector<Match> matches;
  std::vector<std::vector<Match>> by_length(longest_ + 1);
  const auto length = [&](int32_t node) {
    return static_cast<size_t>(nodes_[static_cast<size_t>(node)].depth);
  };
  const auto id = [&](int32_t node) { return nodes_[static_cast<size_t>(node)].id; };
  for (size_t at = 0; at < text.size(); ++at) {
    if (!starts_[static_cast<unsigned char>(text[at])]) continue;
    if (const int32_t node = longest_at(text, at, parse_special))
      by_length[length(node)].push_back({at, node});
  }
  for (size_t n = longest_; n > 0; --n) {
    std::ranges::sort(by_length[n], [&](const Match& a, const Match& b) {
      return id(a.node) != id(b.node) ? id(a.node) < id(b.node) : a.at < b.at;
    });
    for (const Match& match : by_length[n]) {
      if (claimed[match.at]) continue;
      // What is claimed already is at least as long: it cannot lie strictly inside.
      if (claimed[match.at + n - 1]) {
        if (const int32_t node = shorter(match.node, parse_special))
          by_length[length(node)].push_back({match.at, node});
        continue;
      }
      size_t end = match.at + n;
      if (strips_right_[static_cast<size_t>(id(match.node))]) {
        while (end < text.size() && !claimed[end] && is_ascii_space(text[end])) ++end;
      }
      std::fill(claimed.begin() + static_cast<ptrdiff_t>(match.at),
                claimed.begin() + static_cast<ptrdiff_t>(end), true);
      matches.push_back(match);
    }
  }
  return matches;
}

std::vector<Fragment> SpecialTokens::split(std::string_view text, bool parse_special) const {
  std::vector<bool> claimed(text.size(), false);
  std::vector<Match> matches = claim(text, parse_special, claimed);
  std::ranges::sort(matches, {}, &Match::at);
  std::vector<Fragment> fragments;
  size_t at = 0;
  const auto add_text_until = [&](size_t end) {
    while (at < end && claimed[at]) ++at;  // stripped white space
    if (at < end) fragments.push_back({-1, text.substr(at, end - at)});
  };
  for (const Match& match : matches) {
    const Node& node = nodes_[static_cast<size_t>(match.node)];
    add_text_until(match.at);
    fragments.push_back({node.id, text.substr(match.at, static_cast<size_t>(node.depth))});
    at = match.at + static_cast<size_t>(node.depth);
  }
  add_text_until(text.size());
  return fragments;
}

}  // namespace greta

#pragma once
// A run judged in parts, by several processes or machines: each judges a share of the stages and leaves what
// it found. Judgements are known by the hashes of what they were made of (judgement_key()), so a run that
// starts with those of all parts comes to the verdict of one that had none; what is missing it judges itself.

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "judge/oracle_pass.h"

namespace greta {

/// Part `number`, from 1, `of` so many; by default the whole.
struct Share {
  int number = 1, of = 0;
  bool is_whole() const { return of == 0; }
};

/// "3/8". An input Error otherwise.
Share parse_part(const std::string& text);

/// The recorded stages of this part: those of each kind are dealt out layer by layer, as they cost alike.
std::set<At> share_of(const std::vector<const PhaseRecord*>& phases, const Share& part);

inline constexpr const char* kPartFile = "part.cbor";

/// What a part leaves.
struct JudgedPart {
  Share part;
  std::vector<std::string> command;  // the arguments that all parts share
  std::string model;                 // hash of the file
  KnownJudgements judgements;        // without sightings
};

/// CBOR; no interface: another version of GRETA may not read it.
std::string stored_part(const JudgedPart& part);

/// An input Error beginning with `where`: not such a file, another version's, or not whole.
JudgedPart part_from_stored(std::string_view bytes, const std::string& where);

/// That of a directory. An input Error where it holds none.
JudgedPart read_part(const std::string& directory);

}  // namespace greta

#pragma once
// A line of events.jsonl: one recorded stage, op or input of an op. Public format, docs/trace-format.md.

#include <array>
#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "model/phase.h"
#include "model/stage.h"
#include "numerics/metrics.h"

namespace greta {

/// Formats of recorded values, as the engine holds them.
inline constexpr std::array<std::string_view, 12> kDtypes{
    "f64", "f32", "f16", "bf16", "i64", "i32", "i16", "i8", "u8", "q8_block32", "q8_0", "q8_0_stored"};

/// A number (true is 1), or a word.
using OpAttribute = std::variant<double, std::string>;

/// Rows that an op read, as they were when it began: at the positions that the stage was recorded for.
struct SeenOperand {
  std::string stage;          // that they ought to be
  std::string hash = {};      // as an event's; of a rounded form, of the rows that it is a rounding of
  std::string dtype = "f32";  // of what was read
  bool operator==(const SeenOperand&) const = default;
};

struct Event {
  std::string cell;        // "E0/p4_sys"
  std::string experiment;  // "E0"
  std::string prompt_id;   // "p4_sys"
  std::string phase;       // kPrefillLast, ..., or another engine's word
  int layer = kNoLayer;
  std::string stage;               // name(Stage), or a name that another engine uses; "" of an op without one
  std::vector<int64_t> positions;  // [first, last], or a list when there are more or fewer than two
  std::vector<int64_t> shape;
  std::string dtype = "f32";  // one of kDtypes
  std::string route;          // "matrix", "vector"; "" for stages that are no projection
  std::string kernel;         // as the op that ran wrote it
  uint64_t launches = 0;
  bool unscaled = false, unmasked = false;  // of scores: as they were before these
  std::string name;                         // by which ops call it their input; "": by `tensor`
  std::string op;                           // what computed it, from `inputs` ("": not said)
  std::vector<std::string> inputs;  // names of recorded tensors, or "weight: NAME" of the model's file
  std::map<std::string, OpAttribute> attributes;
  std::vector<SeenOperand> operands;  // of a stage; those that were looked at
  std::string hash;                   // XXH3-128 of the bytes, hex
  Summary summary;
  std::string file;  // safetensors file and key of the data; empty when it was not kept
  std::string tensor;

  CellKey key() const { return {experiment, prompt_id}; }
  Seen seen() const { return seen_from_name(phase); }
};

/// The positions of the event's rows, one by one (two numbers are a range).
std::vector<int64_t> positions_of(const Event& event);
/// The same the other way: [first, last] for a run of positions.
std::vector<int64_t> packed_positions(const std::vector<int64_t>& positions);

/// Fills what follows from the values: hash and summary. A machine Error where the shape does not hold them.
void describe(Event& event, std::span<const float> values);

nlohmann::json to_json(const Event& event);
/// Throws an input Error naming `where` (file and line) and the field that is missing or of the wrong kind.
Event event_from_json(const nlohmann::json& json, const std::string& where);

}  // namespace greta

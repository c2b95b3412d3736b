// What is said of recorded ops.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "report/writer.h"

namespace greta::report {
namespace {

constexpr size_t kMostOps = 8;  // of each kind

/// "mul_mat "ffn_up" (kernel gemv), layer 3, decode0".
std::string place_of(const JudgedOp& op) {
  std::string place = op.op;
  if (!op.name.empty()) place += fmt::format(" \"{}\"", op.name);
  if (!op.kernel.empty()) place += fmt::format(" (kernel {})", op.kernel);
  if (op.layer != kNoLayer) place += fmt::format(", layer {}", op.layer);
  return place + ", " + op.phase;
}

}  // namespace

std::string Writer::ops_headline() const {
  std::vector<std::string> wrong, open;
  for (const JudgedOp& op : verdict.ops) {
    if (op.status == OpStatus::fault) add_unique(wrong, place_of(op));
    if (op.status == OpStatus::unmeasured) add_unique(open, op.op);
  }
  if (wrong.size() > 3) {
    wrong.resize(3);
    wrong.emplace_back("...");
  }
  if (!wrong.empty()) return say(Phrase::verdict_ops_fault, fmt::format("{}", fmt::join(wrong, "; ")));
  return open.empty() ? say(Phrase::verdict_ops_clean) : say(Phrase::verdict_ops_unmeasured, join(open));
}

std::vector<std::string> Writer::ops() const {
  std::vector<std::string> wrong, open, inferred;
  int64_t recorded = 0, beyond = 0, unmeasured = 0;
  double largest = 0;
  for (const JudgedOp& op : verdict.ops) {
    recorded += op.recorded, beyond += op.wrong, unmeasured += op.unmeasured;
    if (op.status != OpStatus::fault) largest = std::max(largest, op.noise_ratio);
    if (op.status == OpStatus::fault) {
      const std::string title = op.title.in(language);
      wrong.push_back(say(Phrase::op_wrong, place_of(op), op.wrong, op.recorded, brief(op.noise_ratio),
                          title.empty() ? op.hypothesis : fmt::format("{} ({})", title, op.hypothesis)));
    }
    if (op.unmeasured > 0)
      open.push_back(say(Phrase::op_unmeasured, place_of(op), op.unmeasured, op.recorded, op.why));
    if (!op.arithmetic.empty()) inferred.push_back(say(Phrase::op_inferred, place_of(op), op.arithmetic));
  }
  std::vector<std::string> sentences;
  for (std::vector<std::string>* list : {&wrong, &open}) {
    const size_t all = list->size();
    if (all > kMostOps) list->resize(kMostOps);
    for (std::string& sentence : *list) sentences.push_back(std::move(sentence));
    if (all > kMostOps) sentences.push_back(say(Phrase::more, all - kMostOps));
  }
  if (inferred.size() > kMostOps) inferred.resize(kMostOps);
  if (!inferred.empty())
    sentences.push_back(say(Phrase::arithmetic_inferred, fmt::format("{}", fmt::join(inferred, "; "))));
  if (recorded > 0)
    sentences.push_back(say(Phrase::ops_coverage, recorded, recorded - beyond - unmeasured, beyond,
                            unmeasured, brief(largest)));
  return sentences;
}

}  // namespace greta::report

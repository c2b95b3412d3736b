#include "cli/bench_profile.h"

#include <nlohmann/json.hpp>
#include <string_view>

#include "cli/output.h"

namespace greta::cli {
namespace {

/// The ceiling that a stage is nearest to: what share of it the stage reaches.
struct Nearest {
  std::string_view ceiling;  // "read", "int8", "bf16", "f32"; "" where nothing was measured
  double share = 0;
};

Nearest nearest_ceiling(const StageTime& stage, const Ceilings& ceilings) {
  Nearest best{"", 0};
  const auto offer = [&](std::string_view name, double rate, double ceiling) {
    if (ceiling > 0 && rate / ceiling > best.share) best = {name, rate / ceiling};
  };
  offer("read", stage.bytes / stage.seconds, ceilings.read);
  const double rate = stage.operations / stage.seconds;
  switch (stage.multiplies) {
    case Format::q8_block32: offer("int8", rate, ceilings.int8_dot); break;
    case Format::bf16: offer("bf16", rate, ceilings.bf16_dot); break;
    default: offer("f32", rate, ceilings.f32_fma);
  }
  return best;
}

double total_seconds(const Profile& profile) {
  double total = 0;
  for (const StageTime& stage : profile.stages()) total += stage.seconds;
  return total;
}

}  // namespace

nlohmann::json ceilings_json(const Ceilings& ceilings) {
  return {{"f32_fma", ceilings.f32_fma / 1e9},
          {"int8_dot", ceilings.int8_dot / 1e9},
          {"bf16_dot", ceilings.bf16_dot / 1e9}};
}

nlohmann::json profile_json(const Profile& profile, const Ceilings& ceilings) {
  nlohmann::json stages = nlohmann::json::array();
  for (const StageTime& stage : profile.stages()) {
    if (stage.runs == 0) continue;
    const Nearest nearest = nearest_ceiling(stage, ceilings);
    stages.push_back({{"stage", stage.stage},
                      {"kernel", stage.kernel},
                      {"runs", stage.runs},
                      {"seconds", stage.seconds},
                      {"gb_s", stage.bytes / stage.seconds / 1e9},
                      {"gop_s", stage.operations / stage.seconds / 1e9},
                      {"ceiling", nearest.ceiling},
                      {"ceiling_percent", 100 * nearest.share}});
  }
  return stages;
}

void print_profile(const std::string& title, const Profile& profile, const Ceilings& ceilings) {
  const double total = total_seconds(profile);
  say("\n{}: {:.2f} ms in kernels (first thread)\n", title, total * 1e3);
  say("{:<16} {:>6} {:>10} {:>6} {:>8} {:>8}  {}\n", "stage", "runs", "ms", "%", "GB/s", "GOP/s",
      "nearest ceiling");
  for (const StageTime& stage : profile.stages()) {
    if (stage.runs == 0) continue;
    const Nearest nearest = nearest_ceiling(stage, ceilings);
    say("{:<16} {:>6} {:>10.3f} {:>6.1f} {:>8.1f} {:>8.1f}  {:>3.0f} % {}\n", stage.stage, stage.runs,
        stage.seconds * 1e3, 100 * stage.seconds / total, stage.bytes / stage.seconds / 1e9,
        stage.operations / stage.seconds / 1e9, 100 * nearest.share, nearest.ceiling);
  }
}

void print_ceilings(const Ceilings& ceilings) {
  say("\nceilings, measured now: read {:.1f} GB/s; GOP/s: int8 {:.0f}, bf16 {:.0f}, f32 {:.0f}\n",
      ceilings.read / 1e9, ceilings.int8_dot / 1e9, ceilings.bf16_dot / 1e9, ceilings.f32_fma / 1e9);
}

}  // namespace greta::cli

#pragma once
// The faults by what they get wrong; faults() lists them in this order.

#include <string>
#include <vector>

#include "fault/fault.h"

namespace greta {

using FaultList = std::vector<Fault>;

FaultList weight_faults();     // which weight is read, and in what order
FaultList quantised_faults();  // how its blocks are decoded
FaultList reduction_faults();  // how products are summed and inputs rounded
FaultList output_faults();     // what becomes of a right result
FaultList input_faults();      // what an op reads
FaultList norm_faults();
FaultList rope_faults();
FaultList cache_faults();
FaultList score_faults();         // qk: heads, slots, masks
FaultList attention_faults();     // softmax and pv
FaultList unit_faults();          // the arithmetic of a simulated device's matrix unit
FaultList unexplained_faults();   // no hypothesis has a name for these
FaultList expert_faults();        // of a mixture of experts
FaultList architecture_faults();  // what only some models have: biases, further norms, windows

FaultList latent_faults();  // of latent attention, and of the choice of experts that comes with it

FaultList gpt_oss_faults();  // sinks, the clamped activation, biases of experts

inline Fault needing(Needs needs, Fault fault) {
  fault.needs = needs;
  return fault;
}

/// Each norm's input as it is: of norm faults.
Wrong pass_through(TwinSite& site);

/// Where the real bugs are described. Made up: no public report of just this mistake is in the catalogue.
inline constexpr const char* kMadeUp = "made up: no public report in the catalogue";
inline const std::string kGitHub = "https://github.com/";
inline const std::string kFounding = "https://github.com/leaatimberini/gretacore";

}  // namespace greta

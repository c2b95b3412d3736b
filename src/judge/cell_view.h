#pragma once
// The events of a bundle by cell, phase, layer and stage: what judging looks things up in.

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "bundle/bundle.h"
#include "model/model.h"

namespace greta {

/// One phase of one cell.
class PhaseView {
 public:
  PhaseView(const Bundle& bundle, const CellKey& cell, const std::string& phase);

  /// nullptr when the stage was not recorded.
  const Event* find(Stage stage, int layer) const;
  /// The recorded values, or nullptr when the stage or its data are missing.
  const std::vector<float>* data(Stage stage, int layer) const;
  const std::map<std::pair<int, Stage>, const Event*>& events() const { return events_; }
  const Bundle& bundle() const { return bundle_; }
  const CellKey& cell() const { return cell_; }
  const std::string& phase() const { return phase_; }
  Seen seen() const { return seen_from_name(phase_); }

 private:
  const Bundle& bundle_;
  CellKey cell_;
  std::string phase_;
  std::map<std::pair<int, Stage>, const Event*> events_;
};

/// Where a stage's inputs come from: its stages of the same layer (for final_norm and logits: of the last
/// layer), those that this phase recorded. x_in of a layer after the first is the x_out before it.
std::vector<std::pair<Stage, int>> recorded_inputs(const PhaseView& view, const ModelConfig* config,
                                                   Stage stage, int layer, int last_layer);

/// True if this phase recorded all that the stage is computed from. (x_in of layer 0 needs the token only;
/// q_rope and k_rope need q and k, or their norms.)
bool inputs_complete(const PhaseView& view, const ModelConfig* config, Stage stage, int layer,
                     int last_layer);

}  // namespace greta

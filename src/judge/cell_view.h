#pragma once
// The events of a bundle by cell, phase, layer and stage: what judging looks things up in.

#include <array>
#include <map>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "model/model.h"

namespace greta {

/// One phase of one cell.
class PhaseView {
 public:
  PhaseView(const Bundle& bundle, const CellKey& cell, const std::string& phase);

  /// All phases of all cells, in order of their first event, from one walk over the events.
  static std::vector<PhaseView> all_of(const Bundle& bundle);

  /// nullptr when the stage was not recorded.
  const Event* find(At at) const;
  /// The recorded values, or nullptr when the stage or its data are missing.
  const std::vector<float>* data(At at) const;
  /// In execution order.
  const std::map<At, const Event*>& events() const { return events_; }
  /// In any layer.
  bool records(Stage stage) const { return recorded_[static_cast<size_t>(stage)]; }
  const Bundle& bundle() const { return bundle_; }
  const CellKey& cell() const { return cell_; }
  const std::string& phase() const { return phase_; }
  Seen seen() const { return seen_from_name(phase_); }
  /// Of a phase with an engine's own name: prefill where some stage was recorded for several rows at once.
  Phase kind() const {
    return seen() != Seen::other ? phase_of(seen()) : several_rows_ ? Phase::prefill : Phase::decode;
  }

 private:
  struct Empty {};
  PhaseView(const Bundle& bundle, const Event& first, Empty)
      : bundle_(bundle), cell_(first.key()), phase_(first.phase) {}
  void add(const Event& event);

  const Bundle& bundle_;
  CellKey cell_;
  std::string phase_;
  std::map<At, const Event*> events_;
  std::array<bool, kStageCount> recorded_ = {};
  bool several_rows_ = false;  // of some stage
};

/// What a stage is computed from (final_norm: from the last of `n_layer` layers), as far as this phase
/// recorded it. Without a model, a norm after a projection is there if it was recorded: most models have
/// none.
std::vector<At> recorded_inputs(const PhaseView& view, const ModelConfig* config, At at, int n_layer);

/// True if this phase recorded all that the stage is computed from. (x_in of layer 0 needs the token only;
/// q_rope and k_rope need q and k, or their norms.)
bool inputs_complete(const PhaseView& view, const ModelConfig* config, At at, int n_layer);

/// A layer that begins with what the layer before began with, bit for bit: that one's result, which was not
/// recorded, is not what it reads.
bool skips_layer_before(const PhaseView& view, At at);

/// Recorded as an input of what follows, without what it is made from: x_in where no x_out is before it.
bool is_given(const PhaseView& view, At at);

}  // namespace greta

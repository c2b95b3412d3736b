#pragma once
// Attestation: what was asked for against what ran, as the ops themselves recorded it.

#include <optional>

#include "judge/cell_view.h"
#include "model/tokenizer.h"
#include "verdict/verdict.h"

namespace greta {

/// The cells that a bundle holds, in order of their first event, with what the manifest says was forced.
std::vector<Cell> cells_of(const Bundle& bundle);

/// The token ids of a prompt by the manifest; empty when it does not list it.
std::vector<TokenId> prompt_tokens(const Bundle& bundle, const std::string& prompt);

/// Fills the cell's routes and kernels from decode0's events, and `attested`; flags INERT_FACTOR where a
/// forced route or shape did not launch in some traced layer.
void attest(const Bundle& bundle, const PhaseView& prefill, const PhaseView& decode, Cell& cell,
            std::vector<Flag>& flags);

/// INERT_FACTOR for pairs of cells of one prompt that were forced differently and ran the same
/// kernel, or whose kernels round activations differently and yet gave equal outputs in all traced `layers`.
std::vector<Flag> inert_factors(const Bundle& bundle, const std::vector<Cell>& cells,
                                const std::vector<int>& layers);

/// VACUOUS where a projection's values are constant: comparing them proves nothing. One is enough to doubt
/// the run.
std::optional<Flag> vacuous_projection(const Bundle& bundle);

}  // namespace greta

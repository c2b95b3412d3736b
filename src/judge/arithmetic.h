#pragma once
// The arithmetic that a stage is judged by: as the bundle's manifest declares it of the kernel that ran
// (docs/trace-format.md), or as it was inferred from the recordings (docs/diagnosis.md).

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>

#include "bundle/bundle.h"
#include "judge/fused_attention.h"
#include "judge/stage_problem.h"
#include "model/phase.h"
#include "model/tensor_type.h"

namespace greta {

/// Stages that an engine may be expected to compute by one kernel: of one phase and kind, and, of products,
/// with one type of weight and by one route. In prefill, what follows attention in the last layer may run for
/// the last row alone, hence by the kernels of one row.
struct KernelClass {
  Phase phase = Phase::prefill;
  StageKind kind = StageKind::embedding;
  std::optional<TensorType> weight = {};
  bool last_row = false;
  bool fused = false;      // makes scores or weights that are not recorded
  std::string route = {};  // where the recording says which
  auto operator<=>(const KernelClass&) const = default;
};

/// Of the kernel that makes this stage in the phase that is viewed.
KernelClass kernel_class(const Model& model, const PhaseView& view, At at);

/// What was inferred. Classes by the default arithmetic are not in it, nor are those that nothing explains.
struct InferredArithmetic {
  std::map<KernelClass, Declared> of_class = {};
  // Of those that nothing explains what they are judged by where all their results are held in bf16 or f16.
  std::map<KernelClass, Declared> supposed = {};
  // Stages that another kernel than most of their class computes, as exactly as the default.
  std::set<const Event*> by_default = {};
  bool operator==(const InferredArithmetic&) const = default;
};

/// What the manifest says of this kernel; the defaults for a kernel that it does not list. Values are read as
/// f32, so f64 is taken for f32.
Declared declared_arithmetic(const nlohmann::json& manifest, const std::string& kernel);

/// Whether the manifest lists this kernel.
bool is_declared(const nlohmann::json& manifest, const std::string& kernel);

/// Activations in "q8_0": by ggml's codes, or by those of the scale as it is stored. People mean either.
bool may_be_stored(const Declared& declared);

/// In a format coarser than f32. A mix with such, whose scores and weights are not recorded, may be made by
/// one kernel, or by three that each round their results as this one.
bool has_coarse_results(const Declared& declared);

/// An input Error for a declaration that could not be heeded: a name that is no format, a field that is none,
/// or one that the stages which the kernel computed do not read. It names the kernel, and what is known.
void demand_known_declarations(const Bundle& bundle);

/// RoPE's angles made one from the other, in f32 (ggml-cpu/ops.cpp, ggml_rope_cache_init).
Declared with_iterated_angles(Declared declared = {});

/// Whether the model's heads can be cut into what is rotated.
bool rotation_fits(const Declared& declared, const ModelConfig& config);

/// Whether this model may have such an arithmetic: what it says of the file's reading is left open there.
bool fits_model(const Declared& declared, const Model& model);

/// Operands and results of each step in one format, sums in f32.
Declared all_in(Format format);

/// In words, as "activations q8_1, output f16"; "f32" where nothing is coarser.
std::string describe(const Declared& declared);

/// What an output of f16 or bf16 holds are numbers of that format: else its bound would explain all that is
/// not off by more.
bool is_held_in(Format format, std::span<const float> values);

/// Which of bf16 and f16 all of some numbers may have been rounded to. Every number of bf16 in f16's normal
/// range is one of f16, too, but of eight that f16 rounded, and that are no powers of two, one in 2^24 times
/// all are numbers of bf16: these speak for bf16 alone.
class HeldFormats {
 public:
  void add(std::span<const float> values);
  std::vector<Format> formats() const;

 private:
  bool bf16_ = true, f16_ = true;
  int telling_ = 0;
};

}  // namespace greta

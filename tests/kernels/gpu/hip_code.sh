#!/usr/bin/env bash
# What clang made of kernels/gpu for an AMD GPU: hip_code.sh TARGET CODE_OBJECT. Nothing runs.
set -euo pipefail
target=$1 code=$2
fail() { echo "$target: $*" >&2; exit 1; }
has() { grep -Eq "$2" <<<"$(llvm-objdump-22 -d --disassemble-symbols="greta_$1" "$code")"; }
notes=$(llvm-readelf-22 --notes "$code")

[ -z "$(llvm-nm-22 -u "$code")" ] || fail "calls what nobody gives it: $(llvm-nm-22 -u "$code")"

# The matrix unit where it is meant, and nowhere else.
declare -A unit=([gfx90a]=v_mfma_i32_16x16x16i8 [gfx942]=v_mfma_i32_16x16x32_i8)
has gemm_q4_k "${unit[$target]}" || fail "greta_gemm_q4_k has no ${unit[$target]}"
for kernel in gemm_bf16 gemv_bf16 gemm_f16 gemv_f16; do
  has $kernel v_mfma_f32_16x16x16 || fail "greta_$kernel has no v_mfma_f32_16x16x16"
done
! has gemv_q4_k v_mfma || fail "greta_gemv_q4_k has a matrix instruction"
has gemv_q4_k v_dot4 || fail "greta_gemv_q4_k has no dot product of bytes"

# An FMA where it is written; elsewhere products and sums stay two roundings. (embed: d u, without a minimum.)
has add 'v_(pk_)?fma' || fail "greta_add has no FMA"
! has embed_q8_0 'v_(pk_)?fma' || fail "greta_embed_q8_0 has an FMA that nobody wrote"

# No register of a lane is spilled; shared memory is within the smallest that a card has.
[ "$(grep -c 'vgpr_spill_count: *0$' <<<"$notes")" -gt 60 ] || fail "notes say nothing of spills"
! grep -E 'vgpr_spill_count: *[1-9]' <<<"$notes" || fail "spills"
most=$(grep -oE 'group_segment_fixed_size: *[0-9]+' <<<"$notes" | grep -oE '[0-9]+$' | sort -n | tail -1)
[ "$most" -le 65536 ] || fail "takes $most bytes of shared memory"

#!/usr/bin/env bash
# Speed beside llama.cpp: both programs by turns on the same model and threads, so that a machine that slows down
# slows both. Prints every round, then medians, spread and ratios.
# docs/development.md says how to build llama-bench.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: bench/vs_llama_cpp.sh LLAMA_BENCH_BINARY [MODEL.gguf] [ROUNDS]

MODEL defaults to SmolLM2 (scripts/get-model.sh smollm2), ROUNDS to 5, which is also the least.
THREADS=N sets the threads of both (default: all cores); GRETA=PATH the program (default: build/release/greta);
DEVICE=cuda[:N] runs both on a GPU (llama-bench with all layers there, one GPU, flash attention), on longer texts;
PREFILL=N, DECODE=N and DEPTH=N set how many tokens (default: 200, 64, 0; on a GPU 2048, 128, 0; at a depth compare
decode alone: llama-bench then has its prefill there, too).
TEXT
}

fail() {
  printf 'vs_llama_cpp.sh: %s\n' "$1" >&2
  exit 2
}

[[ "${1:-}" != -h && "${1:-}" != --help ]] || { usage; exit 0; }
[[ $# -ge 1 && $# -le 3 ]] || { usage >&2; exit 2; }
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
llama_bench=$1
rounds=${3:-5}
threads=${THREADS:-$(nproc)}
device=${DEVICE:-cpu}
greta=${GRETA:-$root/build/release/greta}
[[ -x $llama_bench ]] || fail "$llama_bench is no program; docs/development.md says how to build llama-bench"
[[ -x $greta ]] || fail "$greta is not there; build it: cmake --preset release && cmake --build --preset release"
[[ $rounds =~ ^[0-9]+$ && $rounds -ge 5 ]] || fail "ROUNDS must be a number of at least 5, not '$rounds'"
[[ $threads =~ ^[1-9][0-9]*$ ]] || fail "THREADS must be a positive number, not '$threads'"
[[ $device =~ ^(cpu|cuda(:[0-9]+)?)$ ]] || fail "DEVICE must be cpu or cuda[:N], not '$device'"
prefill=${PREFILL:-200} decode=${DECODE:-64} depth=${DEPTH:-0} theirs=(-t "$threads")
if [[ $device != cpu ]]; then
  prefill=${PREFILL:-2048} decode=${DECODE:-128} theirs=(-ngl 99 -fa 1 -sm none)
  [[ $device != *:* ]] || theirs+=(-mg "${device#*:}")
fi
[[ "$prefill$decode$depth" =~ ^[0-9]+$ ]] || fail "PREFILL, DECODE and DEPTH must be numbers"
[[ $depth == 0 ]] || theirs+=(-d "$depth")
command -v python3 >/dev/null || fail "python3 is missing: install it (Debian: apt-get install python3)"
model=${2:-$("$root/scripts/get-model.sh" smollm2)}
[[ -f $model ]] || fail "$model is not a file"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# run OUTPUT COMMAND...: the JSON of a benchmark; what it says on stderr only if it fails.
run() {
  local output=$1
  shift
  "$@" >"$output" 2>"$work/stderr" || { cat "$work/stderr" >&2; fail "failed: $*"; }
}

printf 'model %s on %s, prefill %s, decode %s at depth %s, %s threads, %s rounds, 3 repetitions in each\n' \
  "$(basename "$model")" "$device" "$prefill" "$decode" "$depth" "$threads" "$rounds"
for ((round = 1; round <= rounds; ++round)); do
  run "$work/llama.$round.json" "$llama_bench" -m "$model" -p "$prefill" -n "$decode" "${theirs[@]}" -r 3 -o json
  run "$work/greta.$round.json" "$greta" bench -m "$model" --device "$device" --prompt-tokens "$prefill" -n "$decode" \
    --depth "$depth" --threads "$threads" -r 3 --json
  [[ ! -t 2 ]] || printf '\rround %d of %d' "$round" "$rounds" >&2
done
[[ ! -t 2 ]] || printf '\r\033[K' >&2
python3 "$root/bench/ratios.py" "$work" "$rounds"

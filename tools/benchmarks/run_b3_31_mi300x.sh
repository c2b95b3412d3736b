#!/usr/bin/env bash
# B3.31's runner: its experiment matrix on another machine, by ssh, and its artifacts here.
#
#   tools/benchmarks/run_b3_31_mi300x.sh HOST DATE [-- ISOLATE'S OPTIONS]
#
# leaves in artifacts_remote/DATE/b3_31: gretacore_b3_31_artifacts.tgz (logs, JSON lines, bundle, reports) and
# b3_31_analysis.txt (the table). The exit code is the verdict's. As in the report, E0-E4 run on p4_sys and p5_ba;
# options after -- come on top, such as `-- --device sim:mi300x --prompts p0_short,p6_long`.
# MODEL names the model (default: SmolLM2, fetched), GRETA the program, LAUNCH further options of `greta launch`.
set -euo pipefail

usage() {
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2
  exit 2
}

[[ $# -ge 2 && ( $# -eq 2 || $3 == -- ) && $1 != -* ]] || usage
readonly host=$1 date=$2
shift 2
[[ $# -eq 0 ]] || shift

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
greta=${GRETA:-$here/build/release/greta}
[[ -x $greta ]] || greta=$(command -v greta) || { echo "no greta: build it, or set GRETA" >&2; exit 3; }
model=${MODEL:-$("$here/scripts/get-model.sh" smollm2)}
read -ra launch <<<"${LAUNCH:-}"
options=("$@")
[[ " $* " == *" --prompts"[\ =]* ]] || options+=(--prompts p4_sys,p5_ba)
readonly folder=artifacts_remote/$date/b3_31 archive=gretacore_b3_31_artifacts.tgz

# The report's trace: layer 0's attention pipeline as JSON lines, with the norm before it that B3.32 adds.
code=0
GRETA_TRACE_ATTN_L0_PIPE=1 GRETA_TRACE_ATTN_L0_NORM=1 GRETA_TRACE_ATTN_L0_PIPE_OUT=b3_31_attn_l0_pipe.jsonl \
  "$greta" launch "$host" --date "$date" --name b3_31 "${launch[@]}" -- isolate -m "$model" "${options[@]}" || code=$?
[[ -f $folder/b3_31_analysis.txt ]] || exit "$code"  # launch said why

(cd "$folder" && rm -f "$archive" artifacts.tgz && tar -czf ".$archive" -- * && mv ".$archive" "$archive")
echo "$folder/$archive"
echo "$folder/b3_31_analysis.txt"
exit "$code"

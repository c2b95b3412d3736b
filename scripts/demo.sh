#!/usr/bin/env bash
# The main job on a fresh Debian 12: installs what is missing, fetches SmolLM2, builds GRETA, then runs the experiment
# matrix twice: on the engine as it is, and on one whose prefill reads Wq column-major, the bug that B3.31 hunted.
# Exits 0 if the first run found nothing and the second found the fault.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

wrong=()

# isolate NAME EXPECTED_EXIT_CODE WHAT_IT_SHOWS OPTION...
isolate() {
  local name=$1 expected=$2 shows=$3 code=0 shown
  shift 3
  shown=${*:+ ${*@Q}}
  printf '\n=== %s ===\n' "$shows"
  # shellcheck disable=SC2016  # printed for the reader to type
  printf '$ build/release/greta isolate -m MODEL --out build/demo/%s --force%s\n\n' "$name" "${shown//"'--inject'"/--inject}"
  build/release/greta isolate -m "$model" --out "build/demo/$name" --force "$@" || code=$?
  if [[ $code -eq $expected ]]; then
    printf '\nExit code %d, as expected. The reports are in build/demo/%s.\n' "$code" "$name"
  else
    printf '\nExit code %d, but %d was expected.\n' "$code" "$expected"
    wrong+=("the $name run ended with $code instead of $expected")
  fi
}

install_missing "${BUILD_PACKAGES[@]}"
model=$(smollm2)
build_preset release greta
mkdir -p build/demo

isolate clean 0 "The engine as it is: prefill and decode agree on every route"
isolate injected 1 "Prefill reads Wq column-major: the error of Q does not move with the route" \
  --inject 'wq_column_major@prefill,S>1'

echo
if [[ ${#wrong[@]} -gt 0 ]]; then
  printf 'demo.sh: wrong: %s\n' "${wrong[@]}" >&2
  exit 1
fi
echo "Both runs behaved as expected: nothing found in the clean engine, the bug found."

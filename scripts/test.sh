#!/usr/bin/env bash
# The tests on a fresh Debian 12: installs what is missing, fetches SmolLM2 and Gemma 3, builds, runs CTest, and ends with
# the reasons for which tests were skipped. Options go to ctest, such as: scripts/test.sh -R ThreadPool
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

install_missing "${BUILD_PACKAGES[@]}"
smollm2 >/dev/null
scripts/get-model.sh gemma3 >/dev/null || say "without Gemma 3 its tests are skipped"
build_preset release
code=0
ctest --preset release --parallel "$(nproc)" "$@" || code=$?
# What GoogleTest prints after "FILE:LINE: Skipped", and what the tests in Python say.
skipped=$(sed -nE '/: Skipped$/{n;s/^/  /p}; s/^skipped: /  /p' build/release/Testing/Temporary/LastTest.log | sort | uniq -c)
[[ -z $skipped ]] || printf '\nSkipped, and why (times, reason):\n%s\n' "$skipped"
exit "$code"

#!/usr/bin/env bash
# The tests on a fresh Debian 12: installs what is missing, fetches SmolLM2 and Gemma 3, builds, and ends with CTest's summary.
# Options go to ctest, such as: scripts/test.sh -R ThreadPool
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

install_missing "${BUILD_PACKAGES[@]}"
smollm2 >/dev/null
scripts/get-model.sh gemma3 >/dev/null || say "without Gemma 3 its tests are skipped"
build_preset release
exec ctest --preset release --parallel "$(nproc)" "$@"

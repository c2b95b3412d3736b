#!/usr/bin/env bash
# The tests on a fresh Debian 12: installs what is missing, fetches SmolLM2, builds, and ends with CTest's summary.
# Options go to ctest, such as: scripts/test.sh -R ThreadPool
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

install_missing "${BUILD_PACKAGES[@]}"
smollm2 >/dev/null
build_preset release
exec ctest --preset release --parallel "$(nproc)" "$@"

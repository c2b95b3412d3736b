#!/usr/bin/env bash
# Builds build/dist/greta-llm_VERSION_amd64.deb for Debian 12: the program of build/release, with the distribution's libraries.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

install_missing "${BUILD_PACKAGES[@]}" dpkg-dev
quietly "configuring build/release" cmake --preset release
quietly "building build/release (minutes the first time)" cmake --build --preset release --target greta greta_capture manual
mkdir -p build/dist
rm -f build/dist/greta-llm_*.deb
quietly "packing" cpack --config build/release/CPackConfig.cmake -B "$PWD/build/dist" -D CPACK_CMAKE_GENERATOR=Ninja
rm -rf build/dist/_CPack_Packages
ls -l build/dist/greta-llm_*.deb

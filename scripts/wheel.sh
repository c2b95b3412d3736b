#!/usr/bin/env bash
# Builds build/dist/greta_llm-VERSION-py3-none-manylinux_2_28_x86_64.whl: the static program, the capture library, the header,
# the manual page and the Python package. Runs where glibc 2.28 or later is (Debian 10, Ubuntu 20.04, RHEL 8 and later).
# With --any-glibc it needs no zig, and runs where glibc is as new as here.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

glibc=2.28
[[ ${1:-} != --any-glibc ]] || glibc=
install_missing "${BUILD_PACKAGES[@]}" "${WHEEL_PACKAGES[@]}"
version=$(project_version)
build=build/static
if [[ -n $glibc ]]; then
  zig=$PWD/$build/zig
  [[ -x $zig/bin/python3 ]] || quietly "making a virtual environment" python3 -m venv "$zig"
  "$zig/bin/python3" -c 'import ziglang' 2>/dev/null ||
    quietly "fetching zig, which links for older systems" "$zig/bin/pip" install "ziglang==0.17.1"
  linker=("-DGRETA_GLIBC=$glibc" "-DGRETA_ZIG=$zig/bin/python3;-m;ziglang")
else
  glibc=$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)
  linker=(-DGRETA_GLIBC=)
fi
quietly "configuring $build" cmake --preset static "${linker[@]}"
quietly "building $build (minutes the first time)" cmake --build --preset static --target greta greta_capture manual

tree=$build/wheel
rm -rf "$tree"
info=$tree/greta_llm-$version.dist-info data=$tree/greta_llm-$version.data
mkdir -p "$info" "$data/scripts" "$data/data"
cmake --install "$build" --prefix "$data/data" >/dev/null
mv "$data/data/bin/greta" "$data/scripts/"
rmdir "$data/data/bin"
mkdir -p "$tree/greta/importers"
cp python/greta/*.py "$tree/greta/"
cp python/greta/importers/*.py "$tree/greta/importers/"
printf '[vllm.general_plugins]\ngreta = greta.vllm_plugin:register\n' >"$info/entry_points.txt"
cp LICENSE "$info/"
cat >"$info/WHEEL" <<TEXT
Wheel-Version: 1.0
Generator: scripts/wheel.sh
Root-Is-Purelib: false
Tag: py3-none-manylinux_${glibc/./_}_x86_64
TEXT
{
  cat <<TEXT
Metadata-Version: 2.1
Name: greta-llm
Version: $version
Summary: Finds where and why an LLM engine computes wrongly: decode against prefill, each stage against an fp64 oracle
License: Apache-2.0
License-File: LICENSE
Requires-Python: >=3.9
Provides-Extra: capture
Requires-Dist: numpy; extra == 'capture'
Requires-Dist: torch; extra == 'capture'
Requires-Dist: transformers; extra == 'capture'
Requires-Dist: gguf; extra == 'capture'
Requires-Dist: safetensors; extra == 'capture'
Description-Content-Type: text/markdown

TEXT
  cat README.md
} >"$info/METADATA"
mkdir -p build/dist
rm -f build/dist/greta_llm-*.whl
quietly "packing" /usr/bin/python3 -m wheel pack "$tree" --dest-dir build/dist
ls -l build/dist/greta_llm-*.whl

#!/usr/bin/env bash
# Builds llama.cpp with shared libraries, as `greta capture` needs it, from the sdist of llama-cpp-python, and prints
# the folder of llama-simple. No part of the project: for trying, and for the tests that find it there.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: scripts/get-llama-cpp.sh [VERSION]     VERSION of llama-cpp-python; default 0.3.36

Prints the folder of the program llama-simple and nothing else on stdout; ten minutes and 2 GB the first time.
It is kept in ${GRETA_CACHE:-~/.cache/greta}/llama.cpp/VERSION.
TEXT
}

fail() {
  printf 'get-llama-cpp.sh: %s\n' "$1" >&2
  exit "${2:-3}"
}

main() {
  [[ $# -le 1 ]] || { usage >&2; exit 2; }
  [[ "${1:-}" != -h && "${1:-}" != --help ]] || { usage; exit 0; }
  local version=${1:-0.3.36} root source
  root="${GRETA_CACHE:-${HOME:?set HOME or GRETA_CACHE}/.cache/greta}/llama.cpp/$version"
  if [[ ! -x "$root/build/bin/llama-simple" ]]; then
    mkdir -p "$root" || fail "cannot create $root"
    # pip asks the package for its name before it lets go of the sdist: that takes what builds it.
    python3 -m venv "$root/venv" >&2 || fail "python3 cannot make a venv (Debian: apt-get install python3-venv)"
    "$root/venv/bin/pip" install --quiet scikit-build-core >&2 ||
      fail "could not install scikit-build-core: see the message above"
    "$root/venv/bin/pip" download --quiet --no-deps --no-build-isolation --no-binary llama-cpp-python \
      --dest "$root" "llama-cpp-python==$version" >&2 || fail "could not download llama-cpp-python $version"
    tar -xzf "$root/llama_cpp_python-$version.tar.gz" -C "$root" || fail "the sdist is not readable"
    source="$root/llama_cpp_python-$version/vendor/llama.cpp"
    cmake -S "$source" -B "$root/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
      -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_EXAMPLES=ON \
      -DCMAKE_RUNTIME_OUTPUT_DIRECTORY="$root/build/bin" -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$root/build/bin" >&2 ||
      fail "cmake failed"
    cmake --build "$root/build" --target llama-simple >&2 || fail "the build failed"
  fi
  printf '%s\n' "$root/build/bin"
}

main "$@"

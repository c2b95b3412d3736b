# Shared by demo.sh, test.sh and .ci/run; sourced by them, from any folder. Progress goes to stderr.
# shellcheck shell=bash disable=SC2034  # the lists of packages are used there

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 3

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
  say "$*"
  exit 3
}

# What a fresh Debian 12 needs to build, to test and to fetch the model.
readonly BUILD_PACKAGES=(
  g++ cmake ninja-build pkg-config
  libcli11-dev libfmt-dev nlohmann-json3-dev libxxhash-dev libssl-dev libpcre2-dev libarchive-dev libdeflate-dev
  libutf8proc-dev libpugixml-dev
  libgtest-dev libgmock-dev librapidcheck-dev
  python3 python3-pip python3-jsonschema python3-numpy
)
# What scripts/wheel.sh needs besides.
readonly WHEEL_PACKAGES=(zlib1g-dev python3-wheel python3-venv)
# What only .ci/run needs: libFuzzer comes with clang's runtime.
readonly FUZZ_PACKAGES=(clang libclang-rt-14-dev)

# Likewise: where to launch to. (A system that starts its services then has an ssh server on port 22.)
readonly LAUNCH_PACKAGES=(openssh-server slurm-wlm munge)

as_root() {
  if [[ $EUID -eq 0 ]]; then
    "$@"
  else
    sudo "$@"
  fi
}

# Installs those of the Debian packages "$@" that are not there; asks for root only then.
install_missing() {
  local package missing=()
  if ! command -v dpkg-query >/dev/null; then
    say "this is no Debian: taking it that these are installed in some form: $*"
    return
  fi
  for package in "$@"; do
    [[ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null)" == ii* ]] || missing+=("$package")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  if [[ $EUID -ne 0 ]] && ! command -v sudo >/dev/null; then
    die "packages are missing, and installing them needs root or sudo. As root: apt-get install ${missing[*]}"
  fi
  export DEBIAN_FRONTEND=noninteractive
  quietly "reading Debian's package lists" as_root apt-get update
  quietly "installing ${missing[*]}" \
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}

# quietly WHAT COMMAND...: says what and how long it took; shows the command's output only if it fails.
quietly() {
  local what=$1 log start=$SECONDS
  shift
  log=$(mktemp)
  say "$what ..."
  if ! "$@" >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    die "failed: $what ($*)"
  fi
  rm -f "$log"
  say "done in $((SECONDS - start)) s"
}

# build_preset PRESET [TARGET...]: configures once, then ninja decides what there is to do.
build_preset() {
  local preset=$1 targets=()
  shift
  [[ $# -eq 0 ]] || targets=(--target "$@")
  [[ -f build/$preset/build.ninja ]] || quietly "configuring build/$preset" cmake --preset "$preset"
  quietly "building build/$preset (minutes the first time)" cmake --build --preset "$preset" "${targets[@]}"
}

project_version() { sed -n 's/^project(greta VERSION \([0-9.]*\) .*/\1/p' CMakeLists.txt; }

smollm2() {
  scripts/get-model.sh smollm2 || die "could not fetch SmolLM2; see above"
}

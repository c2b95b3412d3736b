#!/usr/bin/env bash
# The wheel and the Debian package on a bare Debian 12: a tree that debootstrap made, with python3-venv and nothing else of
# what GRETA is built with. As root; needs debootstrap, the network for it, and for the package's libraries. Builds both
# packages first where they are not in build/dist.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[[ $EUID -eq 0 ]] || die "needs root: it makes a tree of another system and enters it"
install_missing debootstrap
[[ -f $(echo build/dist/greta_llm-*.whl) ]] || scripts/wheel.sh
[[ -f $(echo build/dist/greta-llm_*.deb) ]] || scripts/deb.sh
model=$(smollm2)
tree=$PWD/build/bare
[[ -x $tree/usr/bin/python3 ]] || quietly "making a bare Debian 12 in build/bare" \
  debootstrap --variant=minbase --include=python3-venv bookworm "$tree"
mountpoint -q "$tree/proc" || mount -t proc proc "$tree/proc"
trap 'umount "$tree/proc"; rm -rf "$tree/test"' EXIT
rm -rf "$tree/test"
mkdir "$tree/test"
cp build/dist/greta_llm-*.whl build/dist/greta-llm_*.deb tests/goldens/transformers/wk_rows_of_gguf.tgz "$tree/test/"
cp "$model" "$tree/test/model.gguf"

inside() { chroot "$tree" env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/test LC_ALL=C.UTF-8 bash -euo pipefail -c "$1"; }
# exits CODE COMMAND: runs it inside; its output is shown only where the code is another.
exits() {
  local code=0
  inside "$2" >"$tree/test/output" 2>&1 || code=$?
  [[ $code -eq $1 ]] || { cat "$tree/test/output"; die "exit code $code instead of $1: $2"; }
  say "exit code $code, as expected: $2"
}
# What the system has, but for what the package manager notes of its own doings.
files() { (cd "$tree" && find . -xdev -path ./proc -prune -o -path ./test -prune -o -path ./var/cache -prune -o -path ./var/log -prune \
  -o -path ./var/lib/apt -prune -o -path './var/lib/dpkg/*-old' -prune -o -print | sort); }

say "the wheel"
exits 0 'python3 -m venv /test/venv && /test/venv/bin/pip install --no-index /test/greta_llm-*.whl'
exits 0 '/test/venv/bin/greta --version'
exits 0 'cd /test && /test/venv/bin/greta isolate -m model.gguf --out isolated'
exits 1 'cd /test && /test/venv/bin/greta isolate -m model.gguf --quick --out broken --inject wq_column_major@prefill'
exits 1 'cd /test && /test/venv/bin/greta diagnose wk_rows_of_gguf.tgz -m model.gguf'
exits 0 'cd /test && /test/venv/bin/greta capture --no-verify --out none -- /bin/true'
exits 0 '/test/venv/bin/python3 -c "import greta.importers"'
exits 0 '! ldd /test/venv/bin/greta /test/venv/lib/greta/*.so | grep -Ev "linux-vdso|ld-linux|lib(c|m|dl|pthread)\.so|:$"'
exits 0 '/test/venv/bin/pip uninstall -y greta-llm && ! find /test/venv -iname "*greta*" | grep .'

say "the Debian package"
exits 0 'apt-get update'
files >"$tree/../bare.before"
exits 0 'DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends /test/greta-llm_*.deb'
exits 0 'cd /test && greta isolate -m model.gguf --out installed'
exits 1 'cd /test && greta diagnose wk_rows_of_gguf.tgz -m model.gguf'
exits 0 'python3 -c "import greta" && test -f /usr/include/greta_trace.h && test -f /usr/lib/greta/libgreta_capture.so'
exits 0 'test -f /usr/share/zsh/vendor-completions/_greta && test -f /usr/share/fish/vendor_completions.d/greta.fish'
exits 0 'DEBIAN_FRONTEND=noninteractive apt-get purge -y greta-llm && apt-get autoremove -y --purge'
exits 0 '! find /usr /etc /var/lib -iname "*greta*" | grep .'
files >"$tree/../bare.after"
diff "$tree/../bare.before" "$tree/../bare.after" || die "removing the package left or took files (above)"
say "both packages install, run and leave nothing"
ls -l build/dist

# Completion of greta for bash: commands, their options (asked of the program itself), and the values of some.

_greta_devices="cpu sim:mi100 sim:mi250x sim:mi300x sim:v100 sim:a100 sim:h100 sim:b200"
_greta_devices+=" cuda emu:h100 emu:a100 emu:mi300x emu:mi250x"

_greta_options() {
  "$1" "$2" --help 2>/dev/null | sed -nE 's/^ +(-[^ ]*).*/\1/p' | tr ',' '\n'
}

_greta_faults() {
  "$1" faults 2>/dev/null | sed -nE 's/^([a-z0-9_]+) +.* of .*/\1/p'
}

_greta() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]} words i
  COMPREPLY=()
  if [[ $command == launch ]]; then  # after "--" comes the command that it launches
    for ((i = 2; i < COMP_CWORD - 1; i++)); do [[ ${COMP_WORDS[i]} != -- ]] || command=${COMP_WORDS[i + 1]}; done
    if [[ $previous == -- ]]; then
      mapfile -t COMPREPLY < <(compgen -W "isolate diagnose" -- "$current")
      return
    fi
  fi
  # Bash splits sim:mi300x at its colon.
  local colon=$COMP_CWORD
  [[ $current == : ]] || ((colon--))
  if [[ $colon -gt 1 && ${COMP_WORDS[colon]} == : && ${COMP_WORDS[colon - 1]} =~ (sim|emu)$ ]]; then
    [[ $current != : ]] || current=
    words=$(tr ' ' '\n' <<<"$_greta_devices" | sed -n "s/^${BASH_REMATCH[1]}://p")
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    return
  fi
  if [[ $COMP_CWORD -eq 1 ]]; then
    words=$("${COMP_WORDS[0]}" --help 2>/dev/null | sed -n '/^Subcommands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
    mapfile -t COMPREPLY < <(compgen -W "$words --help --version" -- "$current")
    return
  fi
  case $previous in
    -m | --model)
      mapfile -t COMPREPLY < <(compgen -f -X '!*.gguf' -- "$current"; compgen -d -- "$current")
      compopt -o filenames 2>/dev/null
      return
      ;;
    --in | -f | --file) words= ;;
    --out | --base | --resume) mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    --device | --devices) words=$_greta_devices ;;
    --sim-input) words="bf16 f16" ;;
    --isa) words="scalar avx2 avx512" ;;
    --kv) words="f32 f16 q8_0" ;;
    --tensors) words="none first all" ;;
    --causes) words="first all" ;;
    --phase) words="prefill decode" ;;
    --precision) words="f32 bf16 f16 int8" ;;
    --format) words="html markdown json junit sarif github agent" ;;
    --inject) words=$(_greta_faults "${COMP_WORDS[0]}") ;;
    --experiments) words="E0,E1,E2,E3,E4 E0 E1 E2 E3 E4" ;;
    --prompts) words="p0_short p4_sys p5_ba p6_long" ;;
    --layers) words="all 0" ;;
    *) [[ $current != -* ]] || words=$(_greta_options "${COMP_WORDS[0]}" "$command") ;;
  esac
  if [[ -n ${words:-} ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
    compopt -o filenames 2>/dev/null
  fi
}

complete -F _greta greta

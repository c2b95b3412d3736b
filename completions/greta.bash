# Completion of greta for bash. What there is, the program says: `greta complete`.

_greta() {
  local line=${COMP_LINE:0:COMP_POINT} words current found
  read -ra words <<<"$line"
  [[ $line != *[[:space:]] ]] || words+=("")
  current=${words[-1]}
  mapfile -t found < <("${words[0]}" complete -- "${words[@]:1}" 2>/dev/null | cut -f 1)
  COMPREPLY=()
  local one rest=${current##*[:=]}  # bash has split the word at its last colon or equals sign
  for one in "${found[@]}"; do
    case $one in
      @files\ *) mapfile -t COMPREPLY < <(compgen -f -X "!*${one#* }" -- "$rest"; compgen -d -- "$rest") ;;
      @files) mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$rest") ;;
      @directories) mapfile -t COMPREPLY < <(compgen -d -- "$rest") ;;
      *) COMPREPLY+=("${one#"${current%"$rest"}"}"); continue ;;
    esac
    compopt -o filenames 2>/dev/null
  done
}

complete -F _greta greta

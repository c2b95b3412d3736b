#compdef greta
# Completion of greta for zsh. What there is, the program says: `greta complete`.

_greta() {
  local one
  local -a found described
  found=("${(@f)$("${words[1]}" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  for one in $found; do
    case $one in
      @files\ *) _files -g "*${one#* }" ;;
      @files) _files ;;
      @directories) _files -/ ;;
      *) one=${one//:/\\:}; described+=("${one/$'\t'/:}") ;;
    esac
  done
  (( $#described == 0 )) || _describe greta described
}

if [[ $funcstack[1] == _greta ]]; then  # loaded from $fpath, by the first completion
  _greta "$@"
else
  compdef _greta greta
fi

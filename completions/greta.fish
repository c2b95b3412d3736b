# Completion of greta for fish. What there is, the program says: `greta complete`.

function __greta_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for one in ($words[1] complete -- $words[2..] $current 2>/dev/null)
        switch $one
            case '@files *'
                __fish_complete_suffix "$current" (string replace '@files ' '' -- $one)
            case @files
                __fish_complete_path "$current"
            case @directories
                __fish_complete_directories "$current"
            case '*'
                echo $one
        end
    end
end

complete -c greta -f -a '(__greta_complete)'

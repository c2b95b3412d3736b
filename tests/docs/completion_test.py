"""`greta complete` offers what the program takes: its commands, each one's options, the words of each option that has
some; and the scripts of completions/ hand that to their shells, those that are installed. CTest runs it."""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import tiny_model
from program import choices_of, commands_of, difference, options_of, run

SCRIPTS = pathlib.Path(__file__).parents[2] / "completions"
BASH = """source "$0"; compopt() { :; }; COMP_LINE=$1; COMP_POINT=${#1}; _greta; printf '%s\\n' "${COMPREPLY[@]}" """
ZSH = """compdef() { :; }; _files() { print -rl files "$@"; }; _describe() { print -rl "${(@P)2}"; }
source "$0"; words=("$@"); CURRENT=$#words; _greta"""
FISH = 'source $argv[1]; complete -C "$argv[2]"'


def words_of_messages(greta, folder):
    """Option -> its words as the program's own error lists them, where --help does not."""
    model = folder / "tiny.gguf"
    tiny_model.write(model)

    def listed(*arguments):
        message = run(greta, *arguments)
        return set(re.split(r", | or ", re.search(r"(?:use|known:|built in) \(?([\w:, ]+?)\)?(?: nor a file)?\n", message).group(1)))

    return {
        "--device": listed("plan", "-m", model, "--device", "x"),
        "--isa": listed("plan", "-m", model, "--isa", "x"),
        "--prompts": {*listed("trace", "-m", model, "-p", "x", "--out", folder / "x"), "@files"},
    }


def flaws_of_the_program(greta, folder):
    def offered(*words):
        return {line.split("\t")[0] for line in run(greta, "complete", "--", *words).splitlines()}

    commands = commands_of(greta)
    yield from difference("commands", {*commands, "--help", "--version"}, offered(""))
    for command in commands:
        yield from difference(f"options of {command}", options_of(greta, command), offered(command, "-"))
        for option, words in choices_of(greta, command).items():
            yield from difference(f"words of {command} {option}", words, offered(command, option, ""))
    for option, words in words_of_messages(greta, folder).items():
        yield from difference(f"words of {option}", words, offered("isolate", option, ""))
    yield from difference("a model", {"@files .gguf"}, offered("isolate", "-m", ""))
    yield from difference("a directory", {"@directories"}, offered("isolate", "--out", ""))
    yield from difference("a fault", {"wq_column_major"}, offered("isolate", "--inject", "wq_col"))
    yield from difference("what is launched", {"--quick"}, offered("launch", "box", "--", "isolate", "--qui"))
    yield from difference("after --x=", {"--format=junit", "--format=json"}, offered("report", "--format=j"))
    yield from difference("nothing known", {"@files"}, offered("no-such-command", ""))


def flaws_of_the_shells(greta, folder):
    def out(*command):
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, stdin=subprocess.DEVNULL,
                              check=False).stdout.split("\n")[:-1]

    def bash(*words):
        return out("bash", "-c", BASH, SCRIPTS / "greta.bash", " ".join([greta, *words]))

    def zsh(*words):
        return out("zsh", "-fc", ZSH, SCRIPTS / "greta.zsh", greta, *words)

    def fish(*words):  # it looks at the name of the command alone
        found = out("fish", "--no-config", "-c", FISH, SCRIPTS / "greta.fish", " ".join([greta, *words]))
        return [line.split("\t")[0] for line in found]

    for name in ["a.gguf", "b.txt"]:
        (folder / name).touch()
    (folder / "c").mkdir()
    # Of each: a command, what bash splits at a colon, a model's file (fish has others after it), a directory, a file.
    expected = {
        "bash": (bash, [["isolate"], ["mi300x"], ["a.gguf", "c"], ["c"], ["a.gguf", "b.txt", "c"]]),
        "zsh": (zsh, [["isolate:the experiment matrix E0-E4 and its verdict"], [r"sim\:mi300x"],
                      ["files", "-g", "*.gguf"], ["files", "-/"], ["files"]]),
        "fish": (fish, [["isolate"], ["sim:mi300x"], ["a.gguf", "b.txt", "c/"], ["c/"], ["a.gguf", "b.txt", "c/"]]),
    }
    asked = [["isol"], ["isolate", "--device", "sim:mi3"], ["isolate", "-m", ""], ["isolate", "--out", ""],
             ["diagnose", ""]]
    for shell, (complete, answers) in expected.items():
        if not shutil.which(shell):
            print(f"without {shell} its script is not tried")
            continue
        for words, answer in zip(asked, answers):
            found = [line for line in complete(*words) if line != "tiny.gguf"]
            if sorted(found) != sorted(answer):
                yield f"{shell}, {words}: {found}, not {answer}"


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--greta", required=True, help="the program")
    greta = str(pathlib.Path(arguments.parse_args().greta).absolute())
    wrong = []
    for flaws in [flaws_of_the_program, flaws_of_the_shells]:
        with tempfile.TemporaryDirectory(prefix="greta-docs-") as folder:
            wrong += flaws(greta, pathlib.Path(folder))
    print("\n".join([*wrong, f"{len(wrong)} wrong"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

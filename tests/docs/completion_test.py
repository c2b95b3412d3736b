"""completions/greta.bash offers what the program takes: its commands, each one's options, the words of each option that
has some; and names no option that is not there. CTest runs it."""

import argparse
import pathlib
import re
import sys
import tempfile

import tiny_model
from program import choices_of, commands_of, difference, options_of, run

SCRIPT = pathlib.Path(__file__).parents[2] / "completions/greta.bash"
SHELL = """source "$0"; compopt() { :; }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _greta
printf '%s\\n' "${COMPREPLY[@]}" """


def offered(*words):
    """For the last word, which is begun."""
    return set(run("bash", "-c", SHELL, SCRIPT, *words).split())


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
        "--prompts": listed("trace", "-m", model, "-p", "x", "--out", folder / "x"),
    }


def flaws(greta, folder):
    commands = commands_of(greta)
    options = {command: options_of(greta, command) for command in commands}
    yield from difference("commands", {*commands, "--help", "--version"}, offered(greta, ""))
    for command in commands:
        yield from difference(f"options of {command}", options[command], offered(greta, command, "-"))
    words = words_of_messages(greta, folder)
    words["--devices"] = words["--device"]
    for command in commands:
        words |= choices_of(greta, command)
    for option, expected in sorted(words.items()):
        yield from difference(f"words of {option}", expected, offered(greta, "isolate", option, ""))
    in_script = set(re.findall(r"(?<![\w-])--?\w[\w-]*(?=[ |)])", re.search(r"case .*?esac", SCRIPT.read_text(), re.DOTALL).group()))
    shell_options = {"-n", "-d", "-f", "-W", "-X", "-o", "-t"}  # of test, compgen, compopt, mapfile
    for option in sorted(in_script - shell_options - set().union(*options.values())):
        yield f"the script names {option}, which no command has"


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--greta", required=True, help="the program")
    with tempfile.TemporaryDirectory(prefix="greta-docs-") as folder:
        wrong = list(flaws(arguments.parse_args().greta, pathlib.Path(folder)))
    print("\n".join([*wrong, f"{len(wrong)} wrong"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

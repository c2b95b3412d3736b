"""`greta manual` has every command and option that --help has, and no other; README's table every command; the page's
environment every variable that the program reads. CTest runs it."""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys

from program import commands_of, difference, options_of, run

READING = r'(?:reader\.\w+\("|getenv\("|environ(?:\.get\("|\[")|number_or\("|\$\{)(GRETA_\w+)'
REPOSITORY = pathlib.Path(__file__).parents[2]


def names_in(troff):
    return set(re.findall(r"(?<![\w-])--?[\w-]+", troff.replace("\\-", "-")))


def flaws(greta):
    page, commands = run(greta, "manual"), commands_of(greta)
    head, *sections = re.split(r"^\.SS greta (\w+)\n", page.split(".SH SHARED OPTIONS")[0], flags=re.MULTILINE)
    yield from difference("manual's commands", set(commands), set(sections[::2]))
    shared = page.split(".SH SHARED OPTIONS")[1].split(".SH EXIT STATUS")[0]
    entries = re.compile(r'^\.TP\n\.BI "([^"]*)"', re.MULTILINE)
    shared_names = {name for entry in entries.findall(shared) for name in names_in(entry)}
    for command, text in zip(sections[::2], sections[1::2]):
        own = {name for entry in entries.findall(text) for name in names_in(entry)}
        listed = names_in(re.search(r"^Shared options: (.*)\.$", text, re.MULTILINE).group(1))
        yield from difference(f"manual's {command}", options_of(greta, command), own | listed)
        yield from (f"manual's {command}: {name} is explained nowhere" for name in sorted(listed - shared_names))
    readme = (REPOSITORY / "README.md").read_text()
    yield from difference("README's table of commands", set(commands), set(re.findall(r"^\| `greta (\w+)", readme, re.MULTILINE)))
    readers = ["src/cli/environment.cpp", "src/capture/settings.cpp", "scripts/get-model.sh",
               "python/greta/vllm_plugin.py"]
    read = {name for file in readers for name in re.findall(READING, (REPOSITORY / file).read_text())}
    yield from difference("manual's environment", read, set(re.findall(r"^\.BI (GRETA_\w+)=", page, re.MULTILINE)))
    if shutil.which("groff"):
        troff = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z"], input=page, capture_output=True, text=True, check=False)
        yield from (f"groff: {line}" for line in troff.stderr.splitlines())
    else:
        print("without groff the page's form is not checked")


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--greta", required=True, help="the program")
    wrong = list(flaws(arguments.parse_args().greta))
    print("\n".join([*wrong, f"{len(wrong)} wrong"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

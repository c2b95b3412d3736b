"""The program as its own --help describes it."""

import re
import subprocess


def run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    return done.stdout + done.stderr


def commands_of(greta):
    listed = re.search(r"^Subcommands:\n((?:  .*\n)+)", run(greta, "--help"), re.MULTILINE).group(1)
    return re.findall(r"^  (\w+) ", listed, re.MULTILINE)


def options_of(greta, command):
    """{"-m", "--model", ...}"""
    names = re.findall(r"^  (-\S+)", run(greta, command, "--help"), re.MULTILINE)
    return {name for group in names for name in group.split(",")}


def choices_of(greta, command):
    """Option -> the words that it takes, where --help lists them: --kv TEXT:{f32,f16,q8_0}"""
    found = re.findall(r"^  (\S+) \S*:?\{(\S+)\}", run(greta, command, "--help"), re.MULTILINE)
    return {names.split(",")[-1]: set(words.split(",")) for names, words in found}


def difference(what, these, those):
    """One line for each member that the other set lacks."""
    for name in sorted(these - those):
        yield f"{what}: {name} is missing"
    for name in sorted(those - these):
        yield f"{what}: {name} is too much"

"""What the documents call by name is there: files, and words of the code as `name()`, `kName`, `CamelCase`,
`greta::name` or `some_name`. CTest runs it."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parents[2]
DOCUMENTS = ["architecture.md", "extending.md", "development.md"]  # those that speak of the code
FOLDERS = ["src", "include", "examples", "tests", "bench", "cmake", "completions", "docs", "prompts", "python", "scripts",
           "tools", ".ci"]
CODE = {".h", ".c", ".cu", ".cpp", ".py", ".cmake", ".sh", ".bash", ".txt", ".json"}
WORDS = re.compile(r"[A-Za-z_]\w*(?=\(\))|\bk[A-Z]\w+|\b[A-Z][a-z0-9]+[A-Z]\w+|\w+(?=::)|(?<=::)\w+|^\w+_\w+$")


def is_code(file):
    if file == pathlib.Path(__file__).resolve() or {"goldens", "docs"} & set(file.relative_to(ROOT).parts[:2]):
        return False
    return file.suffix in CODE or file.name == ".clang-format"


def tree():
    """Paths from the root, and every word of the code in them."""
    files = [file for file in ROOT.iterdir() if file.is_file()]
    for folder in FOLDERS:
        files += (file for file in (ROOT / folder).rglob("*") if file.is_file())
    words = {f"{room.name}_test" for room in (ROOT / "tests").iterdir()}
    for file in filter(is_code, files):
        words.update(re.findall(r"[A-Za-z_]\w*", file.read_text(errors="replace")))
    return ["/" + file.relative_to(ROOT).as_posix() for file in files], words


def flaws():
    paths, words = tree()
    for document in DOCUMENTS:
        text = re.sub(r"```.*?```", "", (ROOT / "docs" / document).read_text(), flags=re.DOTALL)
        for said in re.findall(r"`([^`\n]+)`", text):
            if "NAME" in said or "*" in said or "build/" in said:  # said of many
                continue
            if re.fullmatch(r"[\w./-]+\.(h|cpp|py|md|sh|bash|json|dict|cmake)", said):
                if not any(path.endswith("/" + said) for path in paths):
                    yield f"{document}: there is no {said}"
            elif re.fullmatch(r"[\w./-]+/", said):
                if not any("/" + said in path for path in paths):
                    yield f"{document}: there is no folder {said}"
            else:
                yield from (f"{document}: no code has {word} (`{said}`)" for word in WORDS.findall(said)
                            if word not in words and not word.startswith("CMAKE_"))


if __name__ == "__main__":
    found = list(flaws())
    print("\n".join(found) or "every name is there")
    sys.exit(len(found) > 0)

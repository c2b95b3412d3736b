"""The fenced blocks of a Markdown document, and what is wrong with its form."""

import dataclasses
import re

LANGUAGES = {"sh", "python", "c", "json", "text"}
COMMAND = re.compile(r"^(\S*/)?(greta|cmake|ctest|ninja|pip|python3|scripts/\S+) ", re.MULTILINE)
COLUMNS = 120  # of prose; a table's row or a link may need more


@dataclasses.dataclass
class Block:
    """```LANGUAGE, then one of: nothing; `norun REASON`; `SmolLM2` (needs that model); of text: `output` (of the block
    before it). docs/development.md explains them."""

    document: str
    line: int
    language: str
    kind: str
    reason: str
    text: str
    output: "Block | None" = None

    @property
    def place(self):
        return f"{self.document}:{self.line}"


def blocks_of(document, text):
    found, lines = [], text.splitlines()
    i = 0
    while i < len(lines):
        if lines[i].startswith("```"):
            language, kind, reason = (lines[i][3:].strip().split(None, 2) + ["", "", ""])[:3]
            end = next(j for j in range(i + 1, len(lines)) if lines[j].startswith("```"))
            block = Block(document, i + 1, language, kind, reason, "\n".join(lines[i + 1 : end]))
            if kind == "output" and found:
                found[-1].output = block
            found.append(block)
            i = end
        i += 1
    return found


def anchors_of(text):
    """As GitHub makes them of headings."""
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def dead_links(path):
    """Of a document: those to files, and to headings of documents, that are not there."""
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^):]*))?\)", path.read_text()):
        file = path.parent / target if target else path
        if not file.exists() or (anchor and anchor not in anchors_of(file.read_text())):
            yield f"{path.name}: a link to {target}{anchor and '#' + anchor}, which is not there"


def flaws_of(document, text):
    """What keeps the examples from being tested, or the text from being read: one line each."""
    for block in blocks_of(document, text):
        if block.language == "" and not COMMAND.search(block.text):
            continue  # a picture
        if block.language not in LANGUAGES:
            yield f"{block.place}: a block of '{block.language}'; known: {', '.join(sorted(LANGUAGES))}"
        known = {"text": {"", "output"}, "json": {""}}.get(block.language, {"", "norun", "SmolLM2", "tiny"})
        if block.kind not in known:
            yield f"{block.place}: '{block.kind}' says nothing about {block.language}"
        if block.kind == "norun" and not block.reason:
            yield f"{block.place}: norun without a reason"
    fenced, before = False, ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced:
            if line.startswith("    ") and not before.strip():
                yield f"{document}:{number}: indented code: fence it and name its language"
            if len(line) > COLUMNS and not line.startswith("|") and not re.fullmatch(r"\S*\]\(\S+\)\S*", line.strip()):
                yield f"{document}:{number}: {len(line)} columns; prose has at most {COLUMNS}"
        before = line

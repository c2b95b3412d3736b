#!/usr/bin/env python3
"""Holds GRETA's chat prompts against Jinja2's for a directory of templates, six conversations each.

    tests/model/chat_templates.py build/release/tests/chat_render DIRECTORY_OF_JINJA_FILES

Prints a table, and why GRETA refuses what Jinja2 renders; exit 1 when a prompt is another one than Jinja2's, or is
rendered where Jinja2 fails. Such a directory is models/templates of llama.cpp, which the source package of
llama-cpp-python carries. Needs jinja2. As in GRETA, the day is 26 July 2024.
"""
import json, pathlib, subprocess, sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "goldens"))
from make_jinja import environment

SYSTEM, HI = ("system", "Be brief."), ("user", "Hi")
TURNS = [("user", " Hi\n"), ("assistant", "Hello!"), ("user", "And now?")]
LONG = [SYSTEM] + TURNS + [("assistant", "<think>\nHm, ñ.\n</think>\n\nNow\n\n"), ("user", "{{ x }} '\"<|im_end|>")]
CONVERSATIONS = {"user": [HI], "system": [SYSTEM, HI], "turns": TURNS, "both": [SYSTEM] + TURNS, "long": LONG,
                 "odd": [("user", ""), ("user", "a\r\nb\t"), ("assistant", "\u3000c\u00a0")]}


def right_prompt(env, template, messages):
    """The prompt without its BOS; None where the template fails, as one may by raise_exception()."""
    try:
        text = env.from_string(template).render(
            messages=[{"role": role, "content": content} for role, content in messages], tools=None,
            documents=None, add_generation_prompt=True, bos_token="<s>", eos_token="</s>")
    except Exception:
        return None
    return text.removeprefix("<s>")


def main(program, directory):
    env = environment()
    paths = sorted(pathlib.Path(directory).glob("*.jinja"))
    requests = [(path.stem, path.read_text(), m) for path in paths for m in CONVERSATIONS.values()]
    lines = "".join(json.dumps({"template": t, "messages": m}) + "\n" for _, t, m in requests)
    run = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    states, reasons = [], {}
    for (name, template, messages), answer in zip(requests, answers, strict=True):
        right = right_prompt(env, template, messages)
        if "error" in answer:
            states.append("refused" if right is not None else "right")
            if right is not None:
                reasons.setdefault(name, answer["error"])
        else:
            states.append("right" if answer["text"] == right else "WRONG")
    n = len(CONVERSATIONS)
    print(f"{'template':52}" + "".join(f"{name:>8}" for name in CONVERSATIONS))
    for i in range(0, len(requests), n):
        print(f"{requests[i][0]:52}" + "".join(f"{state:>8}" for state in states[i:i + n]))
    for name, reason in reasons.items():
        print(f"{name}: {reason}")
    counts = {state: states.count(state) for state in ("right", "refused", "WRONG")}
    print(f"{len(paths)} templates, {len(states)} prompts: " + ", ".join(f"{v} {k}" for k, v in counts.items()))
    return counts["WRONG"] > 0 or not states


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

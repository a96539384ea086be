"""Stands for kubectl, helm, kind and docker: tells a test what it was called with, and answers.

Put into a folder of the PATH under each of these names. The folder has `calls`, to which each call
adds a line of JSON; `fail`, of whose lines one that the call begins with makes it fail, with the
exit code in `code`; and `answers`, JSON objects that `kubectl get` prints, by what is asked for.
"""

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def main() -> int:
    """Note the call, answer it, return the exit code."""
    program = Path(sys.argv[0]).name
    words = [program, *sys.argv[1:]]
    stdin = "" if sys.stdin is None else sys.stdin.read()
    with (FOLDER / "calls").open("a") as calls:
        calls.write(json.dumps({"words": words, "stdin": stdin}) + "\n")
    if words[1:2] == ["--namespace"]:
        del words[1:3]
    said = " ".join(words)
    for line in (FOLDER / "fail").read_text().splitlines():
        if said.startswith(line):
            sys.stderr.write(f"{line}: as the test wants it\n")
            return int((FOLDER / "code").read_text())
    if program == "kubectl":
        print(answer(words[1:]))
    return 0


def answer(words: list[str]) -> str:
    """Return what kubectl prints."""
    answers = json.loads((FOLDER / "answers").read_text())
    if words[0] == "get":
        return json.dumps(answers.get(" ".join(words[1:])))
    if words[0] == "exec" and "urlopen" in words[-1]:
        return json.dumps(answers["workers"])
    if words[0] == "logs":
        return "\n".join(map(json.dumps, answers["log"]))
    return ""


if __name__ == "__main__":
    sys.exit(main())

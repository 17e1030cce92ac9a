"""The code of a page of docs/: its files, its commands, and its lines of Python.

A block of Python with a title, as ```python title="my_world.py", is a file of that name; one
without is run as it stands. Lines of blocks of bash that begin with `python train.py` are commands,
and those with `python -c` are Python.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
TITLE = re.compile(r'title="([^"]+)"')
FEWER = {"--steps": "256", "--episodes": "1", "--seeds": "2", "--trials": "1"}
"""Flags whose values on a page would take minutes, with the values that they have here."""
LONGER = "512"
"""Steps of a training that goes on."""
SHORT = {
    "": ("--num-envs", "4", "--eval-episodes", "1", "--checkpoints", "1"),
    "eval": ("--episodes", "1"),
    "compare": ("--episodes", "1", "--jobs", "1"),
    "tune": ("--seeds", "0"),
}
"""Flags that keep a command short, by its name; that of a training is empty."""


def blocks(page: str) -> Iterator[tuple[str, str, str]]:
    """(language, title, text) of every block of code of a page; "" where there is no title."""
    for language, line, text in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        title = TITLE.search(line)
        yield language, title[1] if title else "", text


def files(page: str) -> dict[str, str]:
    """The files that a page tells to save, by their names."""
    return {title: text for _, title, text in blocks(page) if title}


def write(page: str, folder: Path) -> list[str]:
    """The names of the modules of a page, whose files are put into a folder."""
    for name, text in files(page).items():
        (folder / name).write_text(text, encoding="utf-8")
    return [Path(name).stem for name in files(page) if name.endswith(".py")]


def snippets(page: str) -> list[str]:
    """The lines of Python of a page that are no file, block by block."""
    return [text for language, title, text in blocks(page) if language == "python" and not title]


def commands(page: str) -> Iterator[list[str]]:
    """The commands of a page in their order, word by word, the first one `train.py` or `-c`."""
    for language, _, text in blocks(page):
        if language == "bash":
            for line in text.replace("\\\n", " ").splitlines():
                if line.startswith(("python train.py", "python -c")):
                    yield shlex.split(line, comments=True)[1:]


def short(words: Sequence[str]) -> list[str]:
    """The arguments of a command of train.py with few steps, seeds and episodes."""
    name = words[0] if words and not words[0].startswith("-") else ""
    fewer = {**FEWER, "--steps": LONGER} if name == "resume" else FEWER
    before = ("", *words)
    kept = [fewer.get(flag, word) for flag, word in zip(before, words, strict=False)]
    # The last value of a flag counts.
    return [*kept, *SHORT.get(name, ())]


def run(page: str, main: Callable[[Sequence[str]], object]) -> None:
    """Run all that a page has: its commands by `main`, then its lines of Python."""
    for program, *words in commands(page):
        if program == "-c":
            exec(words[0], {})
        else:
            main(short(words))
    for text in snippets(page):
        exec(text, {})

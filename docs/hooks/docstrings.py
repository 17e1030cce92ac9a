"""Docstrings as Markdown: equations keep their lines, and tables quote whole sentences."""

from __future__ import annotations

from typing import Any

import griffe

CODE = "    "
"""Lines that begin so are equations or code."""


class Docstrings(griffe.Extension):
    """Prepares the docstring of every object for the site."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of an object that has just been read."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """A docstring with its first paragraph on one line, from which tables of names take it, and
    with an empty line before each block of equations.
    """
    lines: list[str] = []
    for line in text.splitlines():
        plain = not line.startswith(CODE)
        before = lines[-1] if lines else ""
        if not plain and before and not before.startswith(CODE):
            lines.append("")
        if plain and line and before and "" not in lines and not before.startswith(CODE):
            lines[-1] = f"{before} {line}"
        else:
            lines.append(line)
    return "\n".join(lines)

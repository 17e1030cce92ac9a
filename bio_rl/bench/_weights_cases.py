"""The short trainings of `bench weights`, which are data: `weights.toml` beside this file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).with_name("weights.toml")
FIELDS = {"flags", "flags_before"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A short training."""

    name: str
    flags: str
    """Flags of train.py."""
    flags_before: str
    """The same for a commit that refuses these, as names have changed since."""

    @property
    def slug(self) -> str:
        """The name as the name of a file."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", self.name)


def read(path: Path = DATA) -> list[Case]:
    """The cases of a data file, with what its words stand for put in.

    Raises ValueError for a field that a case does not have.
    """
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    words = table["words"]
    words_before = words | table.get("words_before", {})
    cases = []
    for name, entry in table["cases"].items():
        fields = {"flags": entry} if isinstance(entry, str) else entry
        if unknown := set(fields) - FIELDS:
            raise ValueError(
                f"{path.name}, {name!r} has {sorted(unknown)}; known: {sorted(FIELDS)}"
            )
        now = filled(fields["flags"], words)
        before = filled(fields.get("flags_before", fields["flags"]), words_before)
        cases.append(Case(name=name, flags=now, flags_before=before))
    return cases


def filled(flags: str, words: Mapping[str, str]) -> str:
    """`flags` with the words replaced by what they stand for, after those that every case has."""
    return " ".join([words["EVERY"], *(words.get(flag, flag) for flag in flags.split())])


def chosen(cases: Sequence[Case], only: Sequence[str]) -> list[Case]:
    """The cases whose name contains one of the texts. Raises ValueError for a text that
    is in none.
    """
    for text in only:
        if not any(text in case.name for case in cases):
            known = "; ".join(case.name for case in cases)
            raise ValueError(f"--only {text!r}: no case has such a name; known: {known}")
    return [case for case in cases if not only or any(text in case.name for text in only)]

"""Hostile input to the command line and to Python: no traceback of ours, no hang, no silent yes.

The lines are data, `hostile.toml` beside this file. A line passes when it ends in time with the
status that a user would expect, when a refusal is one sentence that names what was wrong, and when
no traceback is shown but one of the user's own code.
"""

from __future__ import annotations

import re
import shlex
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bio_rl.bench import _hostile_stage as stage
from bio_rl.bench._report import Shared, cores
from bio_rl.training import checkpoint

# The data

DATA = Path(__file__).with_suffix(".toml")
FORMS = ("commands", "processes", "calls")
"""Command lines in this process, lines of shell in their own processes, expressions in Python."""
KINDS = {
    "traceback": "a traceback of ours was shown",
    "hang": "it did not end in time",
    "accepted": "what should be refused was accepted",
    "refused": "what should work was refused",
    "status": "it ended with another exit status",
    "unclear": "the message does not say what was wrong in one sentence",
    "debris": "a run folder without a readable checkpoint was left behind",
    "damage": "a file was changed that should not be",
}
# Texts

LONGEST = 800
"""Characters of a sentence that refuses something."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069]")
STYLES = re.compile(r"\x1b\[[0-9;?]*[mKHJhlAG]")
"""Codes that a progress bar and a table send; every other control character came from a file."""
FRAMES = re.compile(r"Traceback \(most recent call last\):\n((?:[ |].*\n)+)")
USERS = ("users_worlds.py", "_hostile_worlds.py", "breaks.py")
"""Files of the user's own code; breaks.py is written by lines of their own."""


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Play hostile lines, and exit 1 where one of them does not end as it should."""

    only: tuple[str, ...] = ()
    """Lines whose name contains one of these texts; by default all."""
    form: tuple[str, ...] = FORMS
    """Forms of lines: commands, processes, calls."""
    seconds: float = 30.0
    """Time for one line; a process has twice as much."""
    verbose: bool = False
    """Print all that the failing lines said."""

    def __post_init__(self) -> None:
        if self.seconds <= 0:
            raise ValueError(f"--seconds is {self.seconds}, expected a positive number")
        for form in self.form:
            if form not in FORMS:
                raise ValueError(f"--form is {form!r}; known: {', '.join(FORMS)}")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the data."""

    name: str
    """Its group and its name there."""
    form: str
    """One of `FORMS`."""
    run: str
    """The command's arguments, a line of shell (`bio` is the command), or an expression."""
    typed: str
    """The line with the short words of the data, for the report."""
    exit: tuple[int, ...] = (2,)
    """The statuses that are right."""
    raises: tuple[str, ...] = ()
    """The errors of a call that are right; none for one that must work."""
    says: str = ""
    """A regular expression that its output, or the error's text, must match."""
    before: str = ""
    """Statements that change the folder first, with the functions of `_hostile_edit.Edit`."""
    then: str = ""
    """An expression that must be true afterwards, about `folder` and `said`."""
    ordinary: bool = False
    """Whether root must go without its privileges in a process, as permissions bind a user."""


class Verdict(NamedTuple):
    """A line and how it went."""

    line: Line
    kind: str
    """One of `KINDS`, or empty where all was well."""
    said: str
    """Its output, or the error of a call."""


# Reading the data


def read(path: Path = DATA) -> list[Line]:
    """The lines of a data file, with its words put in.

    Raises ValueError for a field that a line does not have.
    """
    forms = tomllib.loads(path.read_text(encoding="utf-8"))
    fill = words(forms.pop("words"))
    lines = []
    for form, groups in forms.items():
        for group, named in groups.items():
            for name, fields in named.items():
                lines.append(_line(form, group, name, fields, fill))
    return lines


def _line(
    form: str, group: str, name: str, fields: dict[str, Any], fill: Callable[[str], str]
) -> Line:
    """One line of the data. Raises ValueError for unknown fields."""
    values = dict(fields)
    for key in ("exit", "raises"):
        if key in values:
            values[key] = _many(values[key])
    try:
        typed = values.pop("run")
        return Line(name=f"{group}: {name}", form=form, run=fill(typed), typed=typed, **values)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{DATA.name}, {form}.{group}, {name!r}: {error}") from error


def _many(value: Any) -> tuple[Any, ...]:
    """A tuple of what the data write as a list, or as one value alone."""
    return tuple(value) if isinstance(value, list) else (value,)


def words(known: dict[str, str]) -> Callable[[str], str]:
    """A function that puts the long flags in place of the short words that stand for them."""
    pattern = re.compile("|".join(rf"\b{word}\b" for word in known))

    def fill(text: str) -> str:
        return pattern.sub(lambda match: known[match[0]], text)

    return fill


# Playing


def run(settings: Settings) -> dict[str, Any]:
    """{form: how many lines, and how many of each kind of fault}."""
    lines = [
        line for line in read() if line.form in settings.form and is_chosen(line, settings.only)
    ]
    if not lines:
        raise ValueError(f"--only {' '.join(settings.only)}: no line has such a name")
    verdicts: dict[str, list[Verdict]] = {form: [] for form in FORMS}
    for verdict in play(lines, settings.seconds):
        verdicts[verdict.line.form].append(verdict)
        if verdict.kind:
            _tell(verdict, settings.verbose)
    return {form: _counts(of_form) for form, of_form in verdicts.items() if of_form}


def is_chosen(line: Line, only: Sequence[str]) -> bool:
    """Whether a line's name contains one of the texts, or there are none."""
    return not only or any(text in line.name for text in only)


def play(lines: Sequence[Line], seconds: float) -> Iterator[Verdict]:
    """The verdict on each line; processes come last, as they run beside what is played here."""
    fill = words(tomllib.loads(DATA.read_text(encoding="utf-8"))["words"])
    with (
        tempfile.TemporaryDirectory(prefix="hostile-") as parent,
        ThreadPoolExecutor(cores()) as pool,
    ):
        origin = Path(parent) / "stage"
        stage.train_runs(origin, fill, " ".join(f"{line.typed} {line.before}" for line in lines))
        # short names: paths with a line's name in them would be matched by its patterns
        folders = {line.name: Path(parent) / f"line{i}" for i, line in enumerate(lines)}
        beside: list[Future[Verdict]] = [
            pool.submit(verdict, line, origin, folders[line.name], 2 * seconds)
            for line in lines
            if line.form == "processes"
        ]
        for line in lines:
            if line.form != "processes":
                yield verdict(line, origin, folders[line.name], seconds)
        for future in beside:
            yield future.result()


def verdict(line: Line, origin: Path, folder: Path, seconds: float) -> Verdict:
    """Play a line in `folder`, a copy of `origin`, and judge how it ended."""
    stage.copy(origin, folder, line.before)
    before = runs(folder)
    outcome = _outcome(line, folder, seconds)
    kind = judge(line, outcome) or after(line, outcome, folder, before)
    said = outcome.said
    if outcome.raised is not None:
        said = f"{type(outcome.raised).__name__}: {outcome.raised}"
    if outcome.code is None:
        said += "\n[it did not end]"
    stage.remove(folder)
    return Verdict(line, kind, said)


def _outcome(line: Line, folder: Path, seconds: float) -> stage.Outcome:
    """Play a line as its form asks for."""
    match line.form:
        case "commands":
            return stage.in_process(folder, shlex.split(line.run), seconds)
        case "processes":
            return stage.process(folder, line.run, seconds, line.ordinary)
        case _:
            return stage.call(folder, line.run, seconds)


# Judging


def judge(line: Line, outcome: stage.Outcome) -> str:
    """The kind of fault in how a line ended; empty where it ended well."""
    if outcome.code is None:
        return "hang"
    if ours(outcome.said):
        return "traceback"
    if line.form == "calls":
        return judge_call(line, outcome.raised)
    if outcome.code not in line.exit:
        if outcome.code == 0:
            return "accepted"
        refused = outcome.code == 2 and 0 in line.exit
        return "refused" if refused else "status"
    return "" if clear(line, outcome.said, refused=outcome.code == 2) else "unclear"


def judge_call(line: Line, raised: BaseException | None) -> str:
    """The kind of fault in how a call ended: an error of another kind is a traceback of ours."""
    if raised is None:
        return "accepted" if line.raises and "nothing" not in line.raises else ""
    if not line.raises:
        is_refusal = isinstance(raised, ValueError | checkpoint.CheckpointError)
        return "refused" if is_refusal else "traceback"
    # A kind of error stands for those that are derived from it.
    kinds = {kind.__name__ for kind in type(raised).__mro__}
    if not kinds & set(line.raises):
        return "traceback"
    text = str(raised)
    is_sentence = 0 < len(text) <= LONGEST and not CONTROL.search(text)
    return "" if is_sentence and matches(line.says, text) else "unclear"


def ours(said: str) -> bool:
    """Whether a traceback was shown that does not lead to a line of the user's own code."""
    tracebacks = FRAMES.findall(said)
    # One that was cut off before its frames cannot be told to be the user's.
    if said.count("Traceback (most recent call last)") > len(tracebacks):
        return True
    theirs = [any(name in frames for name in USERS) for frames in tracebacks]
    return not all(theirs)


def clear(line: Line, said: str, refused: bool) -> bool:
    """Whether an output matches the line's pattern, and ends in one sentence where it refuses."""
    plain = STYLES.sub("", said)
    if not matches(line.says, plain) or CONTROL.search(plain.replace("\r", "")):
        return False
    # The parser of the flags draws a box of its own.
    if not refused or "╭─" in plain:
        return True
    # a warning or the progress may stand before the refusal
    last = plain.strip().splitlines()[-1] if plain.strip() else ""
    return bool(re.match(r"(.*: )?error: ", last)) and len(last) <= LONGEST


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found in the text, its lines joined and its boxes left out."""
    without_boxes = re.sub("[│╭╰─╮╯]", " ", text)
    in_one_line = " ".join(without_boxes.split())
    return re.search(pattern, in_one_line) is not None


def after(line: Line, outcome: stage.Outcome, folder: Path, before: set[Path]) -> str:
    """The kind of fault in what a line left behind."""
    names = {"folder": folder, "said": outcome.said, "Path": Path}
    if line.then and not eval(line.then, names):
        return "damage"
    new = runs(folder) - before
    return "" if all(resumable(run) for run in new) else "debris"


def runs(folder: Path) -> set[Path]:
    """The run folders below `folder`."""
    return {path.parent for path in folder.rglob("checkpoints") if not path.is_symlink()}


def resumable(run: Path) -> bool:
    """Whether a run has checkpoints, all of which can be read."""
    paths = list((run / "checkpoints").glob("*.pt"))
    try:
        for path in paths:
            checkpoint.load(path)
    except checkpoint.CheckpointError:
        return False
    return bool(paths)


# Reporting


def _counts(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The numbers of lines and of each kind of fault."""
    faults = {verdict.line.name: verdict.kind for verdict in verdicts if verdict.kind}
    kinds = list(faults.values())
    counts = {kind: kinds.count(kind) for kind in KINDS}
    return {"lines": len(verdicts), "failed": len(kinds), **counts, "faults": faults}


def _tell(verdict: Verdict, verbose: bool) -> None:
    """Print a line that failed, and what it said last."""
    line, kind, said = verdict
    last = " | ".join(STYLES.sub("", said).strip().splitlines()[-2:])[-300:]
    text = said if verbose else CONTROL.sub("?", last)
    print(f"{kind}: {line.name}")
    print(f"    {line.typed}")
    print(f"    expected {_expected(line)}, but {KINDS[kind]}:")
    print(f"    {text}", flush=True)


def _expected(line: Line) -> str:
    """The right end of a line, in words."""
    if line.form == "calls":
        end = " or ".join(line.raises) or "no error"
    else:
        end = f"status {' or '.join(map(str, line.exit))}"
    return f"{end}, saying {line.says!r}" if line.says else end

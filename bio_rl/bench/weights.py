"""Whether this checkout trains the very weights that another commit trains, bit by bit: the guard of a refactoring.

The cases are data, `weights.toml` beside this file: a name and the flags of a short training. Every case is trained by the
command line of this checkout and of the commit, in processes of their own. What is compared are the floating-point tensors of
the last checkpoint, of weights, targets, traces and normalisers; not integers and generators, nor what `NOT_TRAINED` names:
the optimiser's moments, the runner with its environments, and the statistics. Tensors with the same name are compared first;
one that was renamed or reshaped is found by its bits. What an older commit has trained is kept, and not trained again.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bio_rl.bench import _report
from bio_rl.bench._report import BenchError, Shared

DATA = Path(__file__).with_suffix(".toml")
SCRIPT = Path(__file__).with_name("_weights_trainings.py")
ROOT = Path(__file__).parents[2]
"""The checkout that this file is part of."""
NOT_TRAINED = re.compile(r"(^|\.)(runner|stats|replay|best|elapsed|horizon)(\.|$)|optimi[sz]er|generator")
"""Names of what a checkpoint holds beside what was trained."""
DECIDE_NUMBERS = ("torch", "numpy", "numba", "gymnasium", "mujoco")
"""Packages whose versions decide what comes out of a training."""
REFUSED = 2
"""Exit status of a command line that does not accept its flags."""
SHOWN = 4  # tensors of a case that are named one by one


def user_cache() -> Path:
    """The folder in which this user's programs keep what they can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bio_rl" / "weights"


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Train in this checkout and in another commit, and exit 1 where the weights differ."""

    commit: str = "HEAD"
    """The commit to compare with: a hash, a branch, HEAD~3, …"""
    only: tuple[str, ...] = ()
    """Cases whose name contains one of these texts; by default all."""
    ignore: tuple[str, ...] = ()
    """Regular expressions: tensors with such a name are not compared."""
    cache: Path = field(default_factory=user_cache)
    """Where the weights of commits are kept."""
    anew: bool = False
    """Train the commit again, even where its weights are kept."""
    jobs: int = 2
    """Trainings at a time."""
    seconds: float = 120.0
    """Time for one training, with the compilation of its kernels."""
    verbose: bool = False
    """Name every tensor that differs or was renamed, and not the first few alone."""

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError(f"--jobs is {self.jobs}, expected at least 1")
        if self.seconds <= 0:
            raise ValueError(f"--seconds is {self.seconds}, expected a positive number")
        for pattern in self.ignore:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"--ignore {pattern!r} is no regular expression: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Case:
    """A short training."""

    name: str
    flags: str
    """Flags of train.py."""
    flags_before: str
    """The same for the commit, where their names have changed since."""


class Trained(NamedTuple):
    """What came out of a training."""

    weights: dict[str, Tensor]
    """The tensors of the last checkpoint; none where the training failed."""
    moved: int = 0
    """How many of them are not what they were at the start."""
    status: int = 0
    """The exit status."""
    said: str = ""
    """The last line that a failed training said."""


class Comparison(NamedTuple):
    """How the tensors of two trainings differ; each list holds sentences."""

    tensors: int
    """How many the older training has."""
    differ: list[str]
    renamed: list[str]
    added: list[str]

    @property
    def verdict(self) -> str:
        """equal or differs."""
        return "differs" if self.differ or not self.tensors else "equal"


# ---------------------------------- the cases


def read(path: Path = DATA) -> list[Case]:
    """The cases of a data file, the flags that its words stand for put in.

    Raises ValueError for a field that a case does not have.
    """
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    words = table["words"]
    words_before = words | table.get("words_before", {})
    cases = []
    for name, entry in table["cases"].items():
        fields = {"flags": entry} if isinstance(entry, str) else entry
        if unknown := set(fields) - {"flags", "flags_before"}:
            raise ValueError(f"{path.name}, {name!r} has {sorted(unknown)}; known: flags, flags_before")
        before = fields.get("flags_before", fields["flags"])
        cases.append(Case(name=name, flags=filled(fields["flags"], words), flags_before=filled(before, words_before)))
    return cases


def filled(flags: str, words: Mapping[str, str]) -> str:
    """`flags` with the words replaced by what they stand for, after those that every case has."""
    return " ".join([words["EVERY"], *(words.get(flag, flag) for flag in flags.split())])


def chosen(cases: Sequence[Case], only: Sequence[str]) -> list[Case]:
    """The cases whose name contains one of the texts. Raises ValueError where there is none."""
    found = [case for case in cases if not only or any(text in case.name for text in only)]
    if not found:
        raise ValueError(f"--only {' '.join(only)}: no case has such a name; known: {', '.join(c.name for c in cases)}")
    return found


# ---------------------------------- the bench


def run(settings: Settings) -> dict[str, Any]:
    """{case: its verdict, and how many tensors were compared, moved in training, were renamed, were added}."""
    if not hasattr(os, "fork"):
        raise ValueError("bench weights forks its trainings, which this system cannot do")
    cases = chosen(read(), settings.only)
    cache = Cache(settings.cache, resolved(settings.commit))
    kept = {} if settings.anew else cache.read(cases)
    print(f"{len(cases)} cases against {cache.commit[:10]}, of which {len(kept)} are kept", flush=True)
    before = dict(kept)
    now: dict[str, Trained] = {}
    seconds: dict[str, float] = {}
    results: dict[str, Any] = {}
    by_name = {case.name: case for case in cases}
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weights-")))
        missing = [case for case in cases if case.name not in before]
        older = stack.enter_context(worktree(cache.commit, place / "tree")) if missing else None
        for is_old, name, trained, took in train_all(older, missing, cases, place, settings):
            if is_old:
                before[name] = trained
                cache.write(by_name[name], trained)
            else:
                now[name] = trained
                seconds[name] = took
            if name in before and name in now:
                results[name] = judged(before[name], now[name], settings) | {"seconds": round(seconds[name], 1)}
                print(f"[{len(results)}/{len(cases)}] {name}: {results[name]['verdict']}", flush=True)
                tell(results[name], settings.verbose)
    return {case.name: results[case.name] for case in cases}


def judged(before: Trained, now: Trained, settings: Settings) -> dict[str, Any]:
    """The figures of a case: its verdict, and `failed`, 1 where the bench should fail."""
    if before.status == REFUSED and now.status == 0:
        return {"verdict": "new", "tensors": len(now.weights), "moved": now.moved, "failed": 0, "differ": [before.said]}
    ended = {"here": now, "in the commit": before}
    errors = [f"{where}, status {t.status}: {t.said}" for where, t in ended.items() if t.status]
    if errors:
        return {"verdict": "broken", "failed": 1, "differ": errors}
    found = compare(
        without(before.weights, settings.ignore),
        without(now.weights, settings.ignore),
    )
    return {
        "verdict": found.verdict,
        "tensors": found.tensors,
        "moved": now.moved,
        "failed": int(found.verdict != "equal"),
        "n_renamed": len(found.renamed),
        "n_added": len(found.added),
        "differ": found.differ,
        "renamed": found.renamed,
        "added": found.added,
    }


def tell(figures: Mapping[str, Any], verbose: bool) -> None:
    """Print which tensors of a case differ, were renamed and were added."""
    for kind in ("differ", "renamed", "added"):
        sentences = figures.get(kind, [])
        shown = sentences if verbose else sentences[:SHOWN]
        for sentence in shown:
            print(f"    {kind}: {sentence}")
        if len(shown) < len(sentences):
            print(f"    {kind}: … and {len(sentences) - len(shown)} more (--verbose names them)")


# ---------------------------------- comparing


def compare(before: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> Comparison:
    """How two sets of tensors differ: by name first, and what is left by its bits.

    Each tensor has one partner at most. A tensor that only `now` has is added, which is no difference.
    """
    same = {name for name in before if name in now and bits(before[name]) == bits(now[name])}
    left = {name: x for name, x in now.items() if name not in same}
    differ = []
    renamed = [reshaped(name, before[name], now[name]) for name in same if before[name].shape != now[name].shape]
    for name in (name for name in before if name not in same):
        partner = twin(before[name], left)
        if partner is None:
            continue
        renamed.append(f"{name} {shape(before[name])} is now {partner} {shape(left[partner])}")
        same.add(name)
        del left[partner]
    for name in (name for name in before if name not in same):
        differ.append(difference(name, before[name], left))
    unpaired = [name for name in left if name not in before]
    return Comparison(len(before), differ, renamed, [f"{name} {shape(now[name])}" for name in unpaired])


def bits(x: Tensor) -> tuple[torch.dtype, bytes]:
    """The type and the bytes of a tensor: 0.0 is not -0.0, and NaN is itself."""
    return x.dtype, x.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def twin(x: Tensor, others: Mapping[str, Tensor]) -> str | None:
    """The name of a tensor with the bits of `x`, one of its shape before others; None without one."""
    found = [name for name, y in others.items() if y.numel() == x.numel() and bits(y) == bits(x)]
    return min(found, key=lambda name: others[name].shape != x.shape, default=None)


def reshaped(name: str, before: Tensor, now: Tensor) -> str:
    """A sentence on a tensor that kept its name and its bits."""
    return f"{name} {shape(before)} has now the shape {shape(now)}"


def difference(name: str, x: Tensor, others: Mapping[str, Tensor]) -> str:
    """A sentence on a tensor that has no equal partner: how far the one of its name, or the nearest, is from it."""
    if name in others and others[name].shape == x.shape:
        return f"{name} {shape(x)} differs by at most {distance(x, others[name]):.3g}"
    if name in others:
        return f"{name} {shape(x)} has now the shape {shape(others[name])} and other numbers"
    alike = {other: distance(x, y) for other, y in others.items() if y.shape == x.shape}
    if not alike:
        return f"{name} {shape(x)} is gone"
    nearest = min(alike, key=lambda other: alike[other])
    return f"{name} {shape(x)} is gone; the nearest of its shape, {nearest}, differs by at most {alike[nearest]:.3g}"


def distance(x: Tensor, y: Tensor) -> float:
    """The largest absolute difference of two tensors of one shape; NaN where one of them has NaN."""
    return float((x.double() - y.double()).abs().max()) if x.numel() else 0.0


def shape(x: Tensor) -> str:
    """[2, 3] for a matrix of two rows."""
    return str(list(x.shape))


def without(weights: Mapping[str, Tensor], patterns: Sequence[str]) -> dict[str, Tensor]:
    """The tensors whose names none of the patterns is found in."""
    return {name: x for name, x in weights.items() if not any(re.search(p, name) for p in patterns)}


# ---------------------------------- reading what was trained


def read_runs(parent: Path) -> tuple[dict[str, Tensor], int]:
    """The trained tensors of the last checkpoint of every run below `parent`, and how many moved since the first one.

    Raises BenchError where there is no checkpoint.
    """
    last: dict[str, Tensor] = {}
    first: dict[str, Tensor] = {}
    runs = sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())
    for i, folder in enumerate(runs):
        steps = checkpoints(folder)
        if not steps:
            raise BenchError(f"{folder} holds no checkpoint: no .pt file whose name ends with its step")
        last |= {f"{i}.{name}" if len(runs) > 1 else name: x for name, x in trained_tensors(steps[max(steps)])}
        first |= {f"{i}.{name}" if len(runs) > 1 else name: x for name, x in trained_tensors(steps[min(steps)])}
    moved = sum(name not in first or bits(first[name]) != bits(x) for name, x in last.items())
    return last, moved


def checkpoints(folder: Path) -> dict[int, list[Path]]:
    """The files of each checkpoint below a run folder by its step: those named with one number at the end."""
    steps: dict[int, list[Path]] = {}
    for path in sorted(folder.rglob("*.pt")):
        if match := re.fullmatch(r"\D*(\d+)", path.stem):
            steps.setdefault(int(match[1]), []).append(path)
    return steps


def trained_tensors(paths: Sequence[Path]) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of all that was trained in the files of a checkpoint."""
    for path in paths:
        for name, x in flat(torch.load(path, map_location="cpu", weights_only=True)):
            if x.is_floating_point() and not NOT_TRAINED.search(name):
                yield name, x


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of all tensors in nested dicts, lists and tuples; a name is the keys joined by dots."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from flat(item, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from flat(item, f"{name}.{i}".lstrip("."))


# ---------------------------------- what is kept of a commit


class Cache:
    """The weights that a commit has trained, a file per case; other flags, packages or machines make other files."""

    def __init__(self, parent: Path, commit: str) -> None:
        self.folder = parent.expanduser() / commit
        self.commit = commit

    def path(self, case: Case) -> Path:
        """The file of a case."""
        decides = [
            case.flags_before,
            platform.python_version(),
            _report.device(),
            SCRIPT.read_text(encoding="utf-8"),
            *(f"{package} {importlib.metadata.version(package)}" for package in DECIDE_NUMBERS),
        ]
        digest = hashlib.sha256("\n".join(decides).encode()).hexdigest()[:12]
        return self.folder / f"{slug(case.name)}_{digest}.pt"

    def read(self, cases: Sequence[Case]) -> dict[str, Trained]:
        """What is kept of these cases, by name; a file that cannot be read is as none."""
        found = {}
        for case in cases:
            with suppress(Exception):  # torch raises a dozen kinds over a damaged file
                found[case.name] = Trained(**torch.load(self.path(case), weights_only=True))
        return found

    def write(self, case: Case, trained: Trained) -> None:
        """Keep what the commit has trained, unless it failed. Raises BenchError where the folder cannot be written."""
        if trained.status not in (0, REFUSED):
            return
        path = self.path(case)
        partial = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            torch.save(trained._asdict(), partial)
            partial.replace(path)
        except (OSError, RuntimeError) as error:  # torch's writer turns an OSError into a RuntimeError
            raise BenchError(f"{self.folder} cannot be written ({error}); choose another folder with --cache") from error


def slug(name: str) -> str:
    """The name of a case as the name of a file."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name)


# ---------------------------------- the other commit


def git(*arguments: str) -> str:
    """What git says in this checkout. Raises ValueError with its last line where it fails."""
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"git {' '.join(arguments)}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return done.stdout.strip()


def resolved(commit: str) -> str:
    """The full hash of a commit. Raises ValueError for one that this checkout does not know."""
    try:
        return git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    except ValueError as error:
        raise ValueError(f"--commit {commit!r} is no commit of the checkout {ROOT}") from error


@contextmanager
def worktree(commit: str, folder: Path) -> Iterator[Path]:
    """A folder with the files of a commit, which is removed at the end."""
    git("worktree", "add", "--detach", "--force", str(folder), commit)
    try:
        yield folder
    finally:
        git("worktree", "remove", "--force", str(folder))


# ---------------------------------- training


def train_all(
    older: Path | None, missing: Sequence[Case], cases: Sequence[Case], place: Path, settings: Settings
) -> Iterator[tuple[bool, str, Trained, float]]:
    """(whether by the commit, name, what was trained, seconds) of every case, as they finish.

    Left early, all trainings are stopped.
    """
    ready: SimpleQueue[tuple[bool, dict[str, Any]]] = SimpleQueue()
    processes: list[subprocess.Popen[str]] = []
    try:
        for is_old, tree, some in shares(older, missing, cases, settings.jobs):
            orders = [order(case, is_old, place) for case in some]
            processes.append(start(tree, orders, settings.seconds))
            Thread(target=collect, args=(processes[-1], is_old, ready), daemon=True).start()
        for _ in range(len(missing) + len(cases)):
            is_old, line = ready.get()
            if "name" not in line:
                raise BenchError(f"the trainings {'in the commit' if is_old else 'here'} ended early: {line['said']}")
            yield is_old, line["name"], outcome(line, runs_of(line["name"], is_old, place)), line["seconds"]
    finally:
        for process in processes:
            stop(process)


def shares(
    older: Path | None, missing: Sequence[Case], cases: Sequence[Case], jobs: int
) -> Iterator[tuple[bool, Path, Sequence[Case]]]:
    """(whether of the commit, tree, cases) for each process: half of them for either tree, where both have to train."""
    n_old = 0 if older is None else max(1, jobs // 2)
    n_new = max(1, jobs - n_old)
    for i in range(n_old):
        if older is not None and missing[i::n_old]:
            yield True, older, missing[i::n_old]
    for i in range(n_new):
        if cases[i::n_new]:
            yield False, ROOT, cases[i::n_new]


def runs_of(name: str, is_old: bool, place: Path) -> Path:
    """The folder of a case in one of the trees."""
    return place / ("before" if is_old else "now") / slug(name)


def order(case: Case, is_old: bool, place: Path) -> dict[str, Any]:
    """A case as `_weights_trainings` reads it."""
    flags = case.flags_before if is_old else case.flags
    return {"name": case.name, "arguments": shlex.split(flags), "folder": str(runs_of(case.name, is_old, place))}


def start(tree: Path, orders: list[dict[str, Any]], seconds: float) -> subprocess.Popen[str]:
    """A process that trains cases with the code of a tree, in a group of its own with all that it starts."""
    alone = {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    process = subprocess.Popen(
        [sys.executable, "-P", str(SCRIPT)],  # -P: the neighbours of the script are no modules of the trainings
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tree,
        env={**os.environ, **alone},
        start_new_session=True,
    )
    assert process.stdin is not None
    with process.stdin as pipe:
        json.dump({"cases": orders, "seconds": seconds}, pipe)
    return process


def collect(process: subprocess.Popen[str], is_old: bool, ready: SimpleQueue[tuple[bool, dict[str, Any]]]) -> None:
    """Put a line for every case that is trained, and one without a name where the process failed."""
    assert process.stdout is not None
    other = ["nothing was said"]
    for line in process.stdout:
        if line.startswith("{"):
            ready.put((is_old, json.loads(line)))
        else:
            other.append(line.strip())
    if process.wait():
        ready.put((is_old, {"said": other[-1]}))


def stop(process: subprocess.Popen[str]) -> None:
    """End a process and the trainings that it has forked."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def outcome(line: Mapping[str, Any], folder: Path) -> Trained:
    """What came out of a training."""
    if line["status"]:
        said = [text.strip() for text in line["said"].splitlines() if text.strip()]
        return Trained({}, status=line["status"], said=said[-1] if said else "it said nothing")
    weights, moved = read_runs(folder / "runs")
    return Trained(weights, moved)

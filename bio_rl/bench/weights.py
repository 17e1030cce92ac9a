"""Whether this checkout trains the very weights that another commit trains, bit by bit: the guard
of a refactoring.

The cases are data, `weights.toml` beside this file: a name and the flags of a short training. The
command lines of this checkout and of the commit train each of them, in processes of their own. What
is compared are the floating-point tensors of the last checkpoint: weights, targets, what synapses
keep, normalisers. Integers are not compared, nor what `NOT_TRAINED` names: optimisers with their
moments, generators, the runner with its environments, statistics, the replay. Tensors with the same
name are compared first; one that was renamed or reshaped is found by its bits. What a commit has
trained is kept, and is not trained again.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bio_rl import checks
from bio_rl.bench._report import Shared
from bio_rl.bench._weights_cache import REFUSED, Cache, default_folder, kernels_folder
from bio_rl.bench._weights_cases import Case, chosen, read
from bio_rl.bench._weights_checkpoints import Trained
from bio_rl.bench._weights_compare import compare, without
from bio_rl.bench._weights_trees import ROOT, Finished, Tree, resolved, train_all, worktree

SHOWN = 4  # tensors of a case that are named one by one


@dataclass(frozen=True, kw_only=True)
class Settings(Shared):
    """Train in this checkout and in another commit, and exit 1 where the weights differ."""

    commit: str = "HEAD"
    """The commit to compare with: a hash, a branch, HEAD~3, …"""
    only: tuple[str, ...] = ()
    """Cases whose name contains one of these texts; by default all."""
    ignore: tuple[str, ...] = ()
    """Regular expressions: tensors with such a name are not compared."""
    cache: Path = field(default_factory=default_folder)
    """Where the weights of commits are kept, and compiled kernels."""
    anew: bool = False
    """Train the commit again, even where its weights are kept."""
    jobs: int = 2
    """Trainings at a time."""
    seconds: float = 120.0
    """Time for one training, with the compilation of its kernels."""
    verbose: bool = False
    """Name every tensor that differs, was renamed or was added, and not the first few alone."""

    def __post_init__(self) -> None:
        checks.at_least_one(self, "jobs")
        if not self.seconds > 0:
            raise ValueError(f"--seconds is {self.seconds}, expected a positive number")
        for pattern in self.ignore:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(
                    f"--ignore {pattern!r} is no regular expression: {error}"
                ) from error


def run(settings: Settings) -> dict[str, Any]:
    """{case: its verdict, and how many tensors were compared, moved in training, were renamed, were
    added}.
    """
    if not hasattr(os, "fork"):
        raise ValueError(
            "bench weights forks its trainings, which this system cannot do; use Linux or macOS"
        )
    cases = {case.name: case for case in chosen(read(), settings.only)}
    cache = Cache(settings.cache, resolved(settings.commit))
    before = {} if settings.anew else cache.read(list(cases.values()))
    print(
        f"{len(cases)} cases against {cache.commit[:10]}, of which {len(before)} are kept",
        flush=True,
    )
    now: dict[str, Finished] = {}
    results: dict[str, Any] = {}
    for finished in trainings(list(cases.values()), before, cache.commit, settings):
        name = finished.name
        if finished.tree == "before":
            before[name] = finished.trained
            cache.write(cases[name], finished.trained)
        else:
            now[name] = finished
        if name in before and name in now:
            figures = judged(before[name], now[name].trained, settings.ignore)
            results[name] = figures | {"seconds": round(now[name].seconds, 1)}
            print(f"[{len(results)}/{len(cases)}] {name}: {figures['verdict']}", flush=True)
            tell(figures, settings.verbose)
    return {name: results[name] for name in cases}


def trainings(
    cases: list[Case], kept: Mapping[str, Trained], commit: str, settings: Settings
) -> Iterator[Finished]:
    """The trainings of this checkout, and those of the commit that are not kept, as they finish."""
    missing = [case for case in cases if case.name not in kept]
    slugs = {case.name: case.slug for case in cases}
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weights-")))
        trees = [Tree("now", ROOT, cases, kernels_folder(settings.cache, ROOT))]
        if missing:
            folder = stack.enter_context(worktree(commit, place / "tree"))
            trees.insert(0, Tree("before", folder, missing, None))
        for finished in train_all(trees, place, settings.jobs, settings.seconds):
            yield finished
            shutil.rmtree(
                place / finished.tree / slugs[finished.name], ignore_errors=True
            )  # replays are large


def judged(before: Trained, now: Trained, ignore: tuple[str, ...] = ()) -> dict[str, Any]:
    """The figures of a case: its verdict, and `failed`, 1 for all but `equal` and `new`.

    new: the commit refuses its flags. broken: one of the trainings failed. untrained: no tensor is
    other than at the start, so that the case says nothing.
    """
    if before.status == REFUSED and now.status == 0:
        return {
            "verdict": "new",
            "tensors": len(now.weights),
            "moved": now.moved,
            "failed": 0,
            "refused": [before.said],
        }
    ended = {"here": now, "in the commit": before}
    errors = [
        f"{where}, status {one.status}: {one.said}" for where, one in ended.items() if one.status
    ]
    if errors:
        return {"verdict": "broken", "failed": 1, "errors": errors}
    found = compare(without(before.weights, ignore), without(now.weights, ignore))
    verdict = found.verdict if now.moved else "untrained"
    return {
        "verdict": verdict,
        "tensors": found.tensors,
        "moved": now.moved,
        "failed": int(verdict != "equal"),
        "n_renamed": len(found.renamed),
        "n_added": len(found.added),
        "differ": found.differ,
        "renamed": found.renamed,
        "added": found.added,
    }


def tell(figures: Mapping[str, Any], verbose: bool) -> None:
    """Print why a case is not equal, and which tensors were renamed and added."""
    for kind in ("refused", "errors", "differ", "renamed", "added"):
        sentences = figures.get(kind, [])
        shown = sentences if verbose else sentences[:SHOWN]
        for sentence in shown:
            print(f"    {kind}: {sentence}")
        if len(shown) < len(sentences):
            print(f"    {kind}: … and {len(sentences) - len(shown)} more (--verbose names them)")

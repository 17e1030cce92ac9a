"""Presets with what they reach: scores, seeds and minutes, from the results in docs/results.

`python -m bio_rl.viz.presetbook` writes agents/scores.json, which is installed with the agents; the
results themselves are not. A case counts that has no further flags and is as long as the preset
says today; of several files the one with the most seeds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bio_rl import agents, discovery
from bio_rl.rl.clock import Horizon
from bio_rl.sweeps.result_file import rounded
from bio_rl.training import config, presets, runfolder

RESULTS = Path("docs/results")
SCORES = "scores.json"
"""The file beside the agents."""


class Row(NamedTuple):
    """A task that an agent with a network has settings or a score for."""

    agent: str
    task: str
    network: str
    horizon: Horizon
    """When a run ends."""
    score: Mapping[str, Any] | None
    """The figures that `scores` keeps; None where no result says any."""


def rows() -> Iterator[Row]:
    """All presets, agent by agent; a task without one where it has a score."""
    known = read()
    for agent in discovery.names(agents):
        table = presets.of_agent(config.agents_module(agent))
        cases = {case: None for case in _cases(agent, table)}
        # A task that needed no tuning has no preset, and its score is worth a row all the same.
        cases |= {case: None for case in known if case.split("/")[1] == agent}
        for case in sorted(cases):
            task, _, network = case.split("/")
            run = config.experiment(task, agent, network).run
            yield Row(agent, task, network, run.horizon, known.get(case))


def _cases(agent: str, table: presets.Table) -> Iterator[str]:
    """The names of the cases that an agent's presets are for: "task/agent/network"."""
    default = config.served(config.agents_module(agent))[0]
    for name in table:
        task, _, network = name.partition("/")
        # A preset for every task is no row, and one for every network is that of the usual one.
        own = any(other.startswith(f"{task}/") for other in table)
        if task != "*" and (network or not own):
            yield f"{task}/{agent}/{network or default}"


def read() -> dict[str, dict[str, Any]]:
    """The scores that are installed, by case."""
    text = place().read_text(encoding="utf-8")
    return json.loads(text)


def place() -> Path:
    """The file of the scores."""
    # Beside the agents, wherever they are installed.
    package = Path(str(agents.__file__))
    return package.with_name(SCORES)


def scores(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """The scores in the result files of a folder: {"task/agent/network": figures}."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        if report["bench"] != "learning":
            continue
        for case, figures in report["results"].items():
            # A case with flags is no preset, and a mean over environments no case.
            if " " in case or "seeds" not in figures or not _is_as_long(case, figures):
                continue
            if figures["n"] > found.get(case, {"seeds": 0})["seeds"]:
                found[case] = _score(figures, path.name)
    return dict(sorted(found.items()))


def _is_as_long(case: str, figures: Mapping[str, Any]) -> bool:
    """Whether a case was trained for as long as its preset says today."""
    task, _, network = case.rpartition("/")
    task, _, agent = task.rpartition("/")
    run = config.experiment(task, agent, network).run
    saved = figures["setting"]["run"]
    # Runs of before had no bound by episodes.
    before = Horizon(saved["steps"], saved.get("episodes", 0))
    return before == run.horizon


def _score(figures: Mapping[str, Any], file: str) -> dict[str, Any]:
    return {
        "iqm": figures["iqm"],
        "least": figures["min"],
        "seeds": figures["n"],
        "minutes": rounded(figures["seconds_median"] / 60),
        "at_once": max(record.get("side_by_side", 1) for record in figures["seeds"].values()),
        "steps": figures["steps"],
        "file": file,
    }


def main() -> None:
    """Write the scores beside the agents."""
    given = sys.argv[1:]
    folder = Path(given[0]) if given else RESULTS
    runfolder.write_json(place(), scores(folder))
    print(f"wrote {place()}")


if __name__ == "__main__":
    main()

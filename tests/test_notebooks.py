"""The notebooks run from top to bottom, and are committed with outputs that anybody may see."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests import notebooks

NAMES = [
    "dopamine_in_a_maze",
    "first_ten_minutes",
    "one_synapse",
    "spiking_against_mlp",
    "your_task_and_rule",
]
each = pytest.mark.parametrize("path", notebooks.PATHS, ids=lambda path: path.stem)
MINUTES = 3
"""Minutes of CPU that a notebook may take: wall time would depend on what else runs here."""
OF_ONE_MACHINE = re.compile(
    r"/(tmp|home|root|Users|work)/|steps/s|\beta \d|trained [\d,]+ steps in"
)
"""Paths and timings, which would be others on the next machine."""


def cells(path: Path) -> list[dict[str, Any]]:
    """The cells of a notebook that hold code."""
    whole = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in whole["cells"] if cell["cell_type"] == "code"]


def texts(cell: dict[str, Any]) -> str:
    """All that a cell printed, pictures aside."""
    found = []
    for output in cell["outputs"]:
        found.append("".join(output.get("text", "")))
        data = output.get("data", {})
        found += ["".join(text) for kind, text in data.items() if kind.startswith("text/plain")]
    return "\n".join(found)


def test_the_five_notebooks_are_there_and_listed() -> None:
    assert [path.stem for path in notebooks.PATHS] == NAMES
    page = (notebooks.FOLDER / "index.md").read_text(encoding="utf-8")
    assert all(f"({name}.ipynb)" in page for name in NAMES)


@each
def test_a_notebook_is_committed_as_it_ran(path: Path) -> None:
    assert path.stat().st_size < 500_000
    numbers = [cell["execution_count"] for cell in cells(path)]
    assert numbers == list(range(1, len(numbers) + 1)), "run it: python -m tests.notebooks"


@each
def test_no_output_tells_of_the_machine_that_made_it(path: Path) -> None:
    for cell in cells(path):
        assert not OF_ONE_MACHINE.search(texts(cell)), texts(cell)


@pytest.mark.notebooks
@each
def test_a_notebook_runs_without_an_error_in_three_minutes(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    _, seconds = notebooks.run(path, tmp_path)
    assert seconds < 60 * MINUTES

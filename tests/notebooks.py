"""The notebooks of docs/notebooks, run in a folder of their own.

`python -m tests.notebooks` runs all of them and writes their outputs into the files;
`python -m tests.notebooks one_synapse` runs one.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
LONGEST = 1800
"""Seconds after which a cell counts as stuck, however busy the machine is."""
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
"""The metadata of a notebook that says nothing of the machine that ran it."""


def run(path: Path, folder: Path) -> tuple[Any, float]:
    """(the notebook with its new outputs, the seconds of CPU that it took), run in `folder`.

    Raises nbclient's CellExecutionError where a cell fails.
    """
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    before = cpu_of_children()
    client = nbclient.NotebookClient(
        notebook,
        timeout=LONGEST,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    # the kernel imports this checkout, whatever else is installed
    with mock.patch.dict(os.environ, {"PYTHONPATH": str(ROOT)}):
        client.execute()
    notebook.metadata = nbformat.from_dict(KERNEL)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            # warnings are of the machine: the first compilation, or a screen that it has not
            cell.outputs = [x for x in cell.outputs if x.get("name") != "stderr"]
    return notebook, cpu_of_children() - before


def cpu_of_children() -> float:
    """Seconds of CPU of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def refresh(path: Path) -> None:
    """Run a notebook and write it with its outputs."""
    import nbformat

    with tempfile.TemporaryDirectory() as folder:
        notebook, seconds = run(path, Path(folder))
    nbformat.write(notebook, path)
    size = path.stat().st_size / 1000
    print(f"{path.name}: {seconds:.0f} s of CPU, {size:.0f} kB")


if __name__ == "__main__":
    names = sys.argv[1:] or [path.stem for path in PATHS]
    for name in names:
        refresh(FOLDER / f"{name}.ipynb")

"""`train.py doctor`: what is installed, what works here, and how to get what does not. `python -m
bio_rl.doctor` is the same.

Nothing heavy is imported at the top, so that the second form also runs where torch is the patient.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

OK, MISSING, BROKEN = "ok", "missing", "broken"
STYLES = {OK: "green", MISSING: "yellow", BROKEN: "bold red"}
PACKAGES = ("torch", "gymnasium", "mujoco", "numpy", "numba", "tensorboard", "tyro", "rich")
OPTIONAL = ("numba",)
"""Packages among these without which everything still runs, slower."""
WIDTH = 140
"""Characters of the table where the output is no terminal."""
FRAME = """
import os
from bio_rl.vector.rendering import choose_gl
choose_gl()
import mujoco
scene = "<mujoco><worldbody><light pos='0 0 3'/><geom size='.5'/></worldbody></mujoco>"
model = mujoco.MjModel.from_xml_string(scene)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 64, 64) as renderer:
    renderer.update_scene(data)
    assert renderer.render().max() > 0, "the frame is black"
print(os.environ.get("MUJOCO_GL", "unset, so GLFW"))
"""
"""Draws a ball, in a process of its own: a driver may end the process that asks it."""


class Finding(NamedTuple):
    """One row of the report."""

    what: str
    state: str
    """OK, MISSING (nothing is wrong, but it could be there) or BROKEN."""
    detail: str = ""
    get: str = ""
    """How to get it, or to repair it."""
    essential: bool = False
    """Whether training needs it."""


def main(run_dir: Path = Path("runs")) -> int:
    """Print the report; 1 where something that training needs does not work, else 0."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("what", "state", "detail", "how to get it"):
        table.add_column(column, overflow="fold")
    found = list(examine(run_dir))
    for what, state, detail, get, _ in found:
        table.add_row(Text(what), Text(state, STYLES[state]), Text(detail), Text(get))
    Console(width=None if Console().is_terminal else WIDTH).print(table)
    bad = [finding.what for finding in found if finding.state != OK and finding.essential]
    print(
        f"\ncannot train before this works: {', '.join(bad)}"
        if bad
        else "\nready to train: python train.py"
    )
    return 1 if bad else 0


def examine(run_dir: Path) -> Iterator[Finding]:
    """All findings, as they are made. Raises nothing: a check that fails is a finding itself."""
    checks: dict[str, Callable[[], list[Finding]]] = {
        "python": python,
        "packages": packages,
        "devices": devices,
        "kernels": kernels,
        "rendering": rendering,
        "extras": extras,
        "run folder": lambda: [writable(run_dir)],
    }
    for what, check in checks.items():
        try:
            yield from check()
        except Exception as error:
            yield Finding(what, BROKEN, f"could not be examined: {said(error)}")


def python() -> list[Finding]:
    """The interpreter and this package."""
    from bio_rl import __version__

    old = sys.version_info < (3, 11)
    get = "Python 3.11 or newer" if old else ""
    interpreter = Finding(
        "python", BROKEN if old else OK, platform.python_version(), get, essential=True
    )
    return [
        interpreter,
        Finding("bio_rl", OK, f"{__version__} in {Path(__file__).parent}", essential=True),
    ]


def packages() -> list[Finding]:
    """The packages that bio_rl needs: there, new enough, and importable."""
    from bio_rl.machine import requirements

    # The versions that pyproject.toml asks for.
    wanted = {requirement.name: requirement for requirement in requirements.declared()[""]}
    return [package(name, wanted[name]) for name in PACKAGES]


def package(name: str, wanted: Any) -> Finding:
    """One package; wanted: its Requirement."""
    from bio_rl.machine import requirements

    essential, get = name not in OPTIONAL, f"pip install '{wanted}'"
    if wrong := requirements.faults(wanted):
        return Finding(name, MISSING, "; ".join(wrong), get, essential)
    try:
        importlib.import_module(name)
    except Exception as error:
        return Finding(
            name,
            BROKEN,
            f"cannot be imported: {said(error)}",
            f"{get} --force-reinstall",
            essential,
        )
    return Finding(name, OK, importlib.metadata.version(name), essential=essential)


def devices() -> list[Finding]:
    """Processors and GPUs."""
    import torch

    from bio_rl.bench._report import cores

    cpu = Finding(
        "cpu", OK, f"{cores()} cores for this process, torch on {torch.get_num_threads()} threads"
    )
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return [cpu, Finding("cuda", OK, names)]
    why = (
        f"torch {torch.__version__} "
        f"{'sees no device' if torch.version.cuda else 'is built without CUDA'}"
    )
    return [
        cpu,
        Finding("cuda", MISSING, why, "optional: an NVIDIA GPU, its driver, a CUDA build of torch"),
    ]


def kernels() -> list[Finding]:
    """The time loops of the neurons, each run for a few ticks and compared with the reference."""
    found = [kernel(backend) for backend in ("torch", "numba", "triton")]
    return [*found, cache()] if found[1].state == OK else found


def cache() -> Finding:
    """Where Numba keeps the compiled loops: without a place, training works, but starts slowly
    every time.
    """
    from bio_rl.kernels.numba import compile as compilation
    from bio_rl.kernels.numba import loops

    what, place = "kernels: cache", compilation.folder(loops.forward)
    if place is None:
        detail = "no folder for it can be written: every start compiles anew, for up to a minute"
        return Finding(what, MISSING, detail, compilation.REMEDY)
    try:
        with tempfile.TemporaryFile(dir=place):
            return Finding(what, OK, f"{place} can be written")
    except OSError as error:
        return Finding(
            what, MISSING, f"{place} cannot be written: {said(error)}", compilation.REMEDY
        )


def kernel(backend: str) -> Finding:
    """One of them."""
    import torch

    what, essential = f"kernels: {backend}", backend == "torch"
    if backend == "numba":
        essential = (
            importlib.util.find_spec(backend) is not None
        )  # where it is installed, the CPU trains with it
    if importlib.util.find_spec(backend) is None:
        return Finding(what, MISSING, "not installed", f"pip install {backend}", essential)
    if backend == "triton" and not torch.cuda.is_available():
        return Finding(what, MISSING, "no CUDA device to run on", "optional: numba serves the CPU")
    try:
        # Triton has an interpreter for the CPU, but nobody trains with it.
        wrong = differing(backend, "cuda" if backend == "triton" else "cpu")
    except Exception as error:
        get = f"pip install --force-reinstall {backend}"
        instead = "; or uninstall it: torch serves, slower" if backend == "numba" else ""
        return Finding(what, BROKEN, said(error), get + instead, essential)
    if wrong:
        return Finding(
            what,
            BROKEN,
            f"{wrong} spikes differ from the reference",
            "please report this",
            essential,
        )
    return Finding(
        what,
        OK,
        "the reference" if backend == "torch" else "runs, equal to the reference",
        essential=essential,
    )


def differing(backend: str, device: str) -> int:
    """How many spikes of a few LIF neurons are not those of the reference. Raises whatever the
    backend raises.
    """
    import torch

    from bio_rl.kernels.unroll import unroll
    from bio_rl.neurons.lif import LIF

    p: Any = LIF()
    state = p.init(2, 5, torch.device(device))
    drive = torch.linspace(0.0, 3.0, 8 * 2 * 5, device=device).view(8, 2, 5)
    reset = torch.zeros(2, 2, dtype=torch.bool, device=device)
    spikes, reference = (
        unroll(p, state, drive, reset, ticks=4, backend=name)[0] for name in (backend, "torch")
    )
    return int((spikes != reference).sum())


def rendering() -> list[Finding]:
    """Whether MuJoCo draws a frame of 64 x 64, and through what."""
    run = subprocess.run([sys.executable, "-c", FRAME], capture_output=True, text=True, timeout=60)
    if run.returncode == 0:
        return [Finding("rendering", OK, f"a 64x64 frame; MUJOCO_GL: {run.stdout.strip()}")]
    from bio_rl.vector.rendering import INSTALL_HINT

    last = (run.stderr.strip().splitlines() or [f"the process ended with status {run.returncode}"])[
        -1
    ]
    chosen, why = (
        os.environ.get("MUJOCO_GL", "unset"),
        last.partition(INSTALL_HINT)[2].strip() or last,
    )
    return [Finding("rendering", BROKEN, f"MUJOCO_GL: {chosen}; {why}", INSTALL_HINT)]


def extras() -> list[Finding]:
    """Each optional part: installed, or what is missing of it."""
    from bio_rl.machine import requirements

    found = []
    for extra, parts in requirements.declared().items():
        wrong = [fault for part in parts for fault in requirements.faults(part)]
        get = f"pip install '{requirements.PROJECT}[{extra}]'" if wrong else ""
        found.append(
            Finding(
                f"extra {extra}", MISSING if wrong else OK, "; ".join(wrong) or "installed", get
            )
        )
    return found[1:]  # the first are those of every install


def writable(folder: Path) -> Finding:
    """Whether runs can be kept: a file is written into the folder, or where it would be made, and
    removed again.
    """
    try:
        # The folder itself may be made by the first run only.
        place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"x")
        free = f"{shutil.disk_usage(place).free / 1e9:.0f} GB free"
        return Finding("run folder", OK, f"{folder} can be written, {free}", essential=True)
    except OSError as error:
        return Finding(
            "run folder",
            BROKEN,
            f"{folder}: {said(error)}",
            "--run-dir names another",
            essential=True,
        )


def said(error: BaseException) -> str:
    """An exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


if __name__ == "__main__":
    sys.exit(main())

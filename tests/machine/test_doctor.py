"""The doctor: it never raises, says how to get what is missing, and tells what training needs from
what is optional.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bio_rl import doctor
from bio_rl.__main__ import main
from bio_rl.doctor import BROKEN, MISSING, OK
from bio_rl.machine import requirements


@pytest.fixture
def frame(monkeypatch):
    """The rendering process, as it ends; seconds otherwise."""
    done = {"returncode": 0, "stdout": "egl\n", "stderr": ""}
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, **done)
    )
    return done


def findings(run_dir: Path) -> dict[str, doctor.Finding]:
    return {finding.what: finding for finding in doctor.examine(run_dir)}


def run_doctor(run_dir: Path, capsys) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["doctor", "--run-dir", str(run_dir)])
    return stopped.value.code, capsys.readouterr().out


def test_it_names_versions_devices_kernels_rendering_extras_and_the_run_folder(
    frame, capsys, tmp_path
):
    status, said = run_doctor(tmp_path / "runs", capsys)
    assert status == 0 and "ready to train" in said
    for package in doctor.PACKAGES:
        assert importlib.metadata.version(package) in said
    for what in (
        "python",
        "bio_rl",
        "cpu",
        "cuda",
        "kernels: torch",
        "kernels: triton",
        "rendering",
        "run folder",
    ):
        assert what in said
    for extra in requirements.declared():
        assert not extra or f"extra {extra}" in said
    assert not (tmp_path / "runs").exists()  # it only looks


def test_a_missing_package_that_training_needs_is_an_error_with_its_remedy(
    frame, capsys, monkeypatch, tmp_path
):
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "tensorboard":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0" if name == "mujoco" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = findings(tmp_path)
    assert (
        found["tensorboard"].state == MISSING
        and found["tensorboard"].get == "pip install 'tensorboard>=2.16'"
    )
    assert "mujoco is 1.0, expected >=3.17" in found["mujoco"].detail
    status, said = run_doctor(tmp_path, capsys)
    assert (
        status == 1
        and "cannot train before this works: " in said
        and "tensorboard" in said.splitlines()[-1]
    )


def test_a_check_that_raises_is_a_finding_and_the_others_go_on(frame, monkeypatch, tmp_path):
    def fails() -> list:
        raise ZeroDivisionError("half a driver")

    for check in ("packages", "devices", "kernels", "extras"):
        monkeypatch.setattr(doctor, check, fails)
    found = findings(tmp_path)
    assert (
        found["kernels"].state == BROKEN
        and "ZeroDivisionError: half a driver" in found["kernels"].detail
    )
    assert found["rendering"].state == OK and found["run folder"].state == OK


@pytest.mark.parametrize("essential", [True, False])
def test_a_package_that_cannot_be_imported_is_broken(monkeypatch, essential):
    name = "torch" if essential else "numba"

    def broken(module: str):
        raise OSError("libc10.so: cannot open shared object file")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    found = doctor.package(name, Requirement(name))
    assert (found.state, found.essential) == (BROKEN, essential) and "libc10.so" in found.detail


def test_a_backend_is_run_and_not_merely_found(monkeypatch):
    assert doctor.kernel("torch").state == OK
    monkeypatch.setattr(doctor, "differing", lambda backend, device: 3)
    assert doctor.kernel("torch") == (
        "kernels: torch",
        BROKEN,
        "3 spikes differ from the reference",
        "please report this",
        True,
    )
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert doctor.kernel("numba")[1:] == (MISSING, "not installed", "pip install numba", False)


def test_no_rendering_is_told_with_the_remedy_and_no_error(frame, tmp_path, capsys):
    frame |= {
        "returncode": 1,
        "stderr": f"Traceback ...\nRuntimeError: {doctor_hint()} (ImportError: libEGL.so.1)",
    }
    (found,) = doctor.rendering()
    assert (
        found.state == BROKEN
        and "libEGL.so.1" in found.detail
        and "apt-get install libegl1" in found.get
    )
    assert run_doctor(tmp_path, capsys)[0] == 0
    frame |= {"returncode": -11, "stderr": ""}
    assert "status -11" in doctor.rendering()[0].detail


def doctor_hint() -> str:
    from bio_rl.vector.rendering import INSTALL_HINT

    return INSTALL_HINT


def test_a_run_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    found = doctor.writable(tmp_path / "file")
    assert found.state == BROKEN and found.essential and "--run-dir" in found.get
    assert doctor.writable(tmp_path / "new" / "deeper").state == OK


def test_an_extra_is_installed_when_all_its_parts_are(monkeypatch):
    assert requirements.faults(Requirement("numpy>=2.0")) == []
    assert requirements.faults(Requirement("no-such-package")) == [
        "no-such-package is not installed"
    ]
    assert requirements.faults(Requirement("no-such-package ; sys_platform == 'plan9'")) == []
    assert "expected >=999" in requirements.faults(Requirement("numpy>=999"))[0]
    monkeypatch.setattr(
        requirements,
        "parts",
        lambda name, extra: [Requirement(f"no-such-{extra}")] if name == "gymnasium" else [],
    )
    assert requirements.faults(Requirement("gymnasium[box2d]")) == [
        "no-such-box2d is not installed"
    ]
    own = {"": [], "plots": [Requirement("no-plots")]}
    monkeypatch.setattr(requirements, "declared", lambda: own)
    assert requirements.faults(Requirement("bio-rl[plots]")) == ["no-plots is not installed"]


def test_a_wheel_reads_its_extras_from_its_metadata():
    always = {part.name for part in requirements.parts("bio-rl", "")}
    assert {"torch", "gymnasium"} <= always and "matplotlib" not in always
    assert {part.name for part in requirements.parts("bio-rl", "plots")} == {"matplotlib"}

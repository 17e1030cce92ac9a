"""A checkpoint is exact, whole or absent, and never code."""

import os
import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from bio_rl.training import checkpoint
from bio_rl.training.checkpoint import CheckpointError, Checkpoints


class Pair(NamedTuple):
    a: torch.Tensor
    b: int


class Evil:
    """Creates a file when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


def round_trip(tmp_path: Path, tree: dict) -> dict:
    checkpoint.save(tmp_path / "a.pt", tree)
    return checkpoint.load(tmp_path / "a.pt")


def test_tensors_and_plain_values_come_back_bitwise(tmp_path):
    tree = {
        "weights": OrderedDict(
            w=torch.nn.Parameter(torch.randn(3, 2)), b=torch.tensor([0.0, -0.0, float("inf")])
        ),
        "optimiser": {0: {"step": torch.tensor(3.0)}, 1: [1, 2.5, True, None, "x"]},
        "big": 2**127 - 1,
        "pair": Pair(torch.tensor([True]), 4),
        "empty": ((), {}, []),
    }
    back = round_trip(tmp_path, tree)
    assert (
        torch.equal(back["weights"]["w"], tree["weights"]["w"])
        and not back["weights"]["w"].requires_grad
    )
    assert back["weights"]["b"].numpy().tobytes() == tree["weights"]["b"].numpy().tobytes()
    assert back["optimiser"][0]["step"] == 3 and back["optimiser"][1] == [1, 2.5, True, None, "x"]
    assert back["big"] == 2**127 - 1 and back["empty"] == ((), {}, [])
    assert (
        type(back["pair"]) is tuple
        and back["pair"][1] == 4
        and type(back["optimiser"][1][2]) is bool
    )


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int16", "uint16", "uint32", "int64", "uint64", "float16", "float64"]
)
def test_numpy_arrays_come_back_as_tensors_of_their_dtype(tmp_path, dtype):
    top = 1 if dtype in ("bool", "float16", "float64") else np.iinfo(dtype).max
    array = np.array([[0, 1, top]], dtype=dtype)
    back = round_trip(
        tmp_path,
        {"x": array, "scalar": array[0, 2], "zero_d": np.array(top, dtype), "turned": array.T},
    )
    assert back["x"].numpy().dtype == array.dtype and np.array_equal(back["x"].numpy(), array)
    assert (
        back["scalar"] == top
        and back["zero_d"].shape == ()
        and np.array_equal(back["turned"].numpy(), array.T)
    )


def test_everything_that_is_saved_passes_torchs_own_weights_only_check(tmp_path):
    checkpoint.save(
        tmp_path / "a.pt", {"x": np.array([2**64 - 1], np.uint64), "y": np.float64(0.1)}
    )
    assert torch.load(tmp_path / "a.pt", weights_only=True)["tree"]["y"] == 0.1


def test_a_slice_does_not_drag_its_whole_buffer_into_the_file(tmp_path):
    replay = torch.arange(1_000_000)
    assert torch.equal(round_trip(tmp_path, {"x": replay[5:7]})["x"], replay[5:7])
    assert (tmp_path / "a.pt").stat().st_size < 10_000


@pytest.mark.parametrize(
    "value",
    [
        Path("x"),
        {1, 2},
        b"bytes",
        np.array(["a"]),
        np.array([None]),
        print,
        torch.float32,
        np.datetime64("2026"),
    ],
)
def test_other_types_are_refused_when_saving_with_their_key_path(tmp_path, value):
    with pytest.raises(TypeError, match=r"tree\['agent'\]\[1\]"):
        checkpoint.save(tmp_path / "a.pt", {"agent": [0, value]})
    assert list(tmp_path.iterdir()) == []


def test_a_failing_write_leaves_the_old_checkpoint_and_no_temporary(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "a.pt"
    checkpoint.save(path, {"x": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (5_000, hard)
    )  # the system refuses byte 5,001, as on a full disk
    try:
        with pytest.raises(CheckpointError, match=r"a\.pt: File too large.*untouched.*resume"):
            checkpoint.save(path, {"x": torch.arange(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoint.load(path) == {"x": 1} and os.listdir(tmp_path) == ["a.pt"]


def test_an_interrupt_while_writing_leaves_the_old_checkpoint_and_no_temporary(
    tmp_path, monkeypatch
):
    path = tmp_path / "a.pt"
    checkpoint.save(path, {"x": 1})

    def interrupted(tree, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, {"x": 2})
    assert checkpoint.load(path) == {"x": 1} and os.listdir(tmp_path) == ["a.pt"]


@pytest.mark.parametrize("harm", ["truncated", "flipped", "empty", "text", "missing"])
def test_a_damaged_file_raises_one_clear_line(tmp_path, harm):
    path = tmp_path / "a.pt"
    checkpoint.save(path, {"x": torch.arange(10_000)})
    raw = bytearray(path.read_bytes())
    if harm == "flipped":
        raw[len(raw) // 2] ^= 1  # torch.load itself does not notice this one
    path.write_bytes(
        {"truncated": raw[: len(raw) // 2], "empty": b"", "text": b"hello"}.get(harm, raw)
    )
    if harm == "missing":
        path.unlink()
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(path)
    assert "a.pt" in str(error.value) and "\n" not in str(error.value)


def test_malicious_pickles_are_refused_and_not_executed(tmp_path):
    path, target = tmp_path / "a.pt", tmp_path / "executed"
    evil = {"format": checkpoint.FORMAT, "version": checkpoint.VERSION, "tree": Evil(target)}
    torch.save(evil, path)
    with pytest.raises(CheckpointError, match="no code is run"):
        checkpoint.load(path)
    path.write_bytes(pickle.dumps(evil))
    with pytest.raises(CheckpointError):
        checkpoint.load(path)
    assert not target.exists()
    pickle.loads(pickle.dumps(Evil(target))).close()
    assert target.exists(), "the trap of this test works"


def test_foreign_and_future_files_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"state_dict": {"w": torch.ones(2)}}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint written by bio_rl"):
        checkpoint.load(path)
    torch.save({"format": checkpoint.FORMAT, "version": 99, "tree": {}}, path)
    with pytest.raises(CheckpointError, match="version 99"):
        checkpoint.load(path)


def test_only_the_last_ones_are_kept_and_the_best(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    assert checkpoints.last() is None
    checkpoints.save_best({"x": 0})
    for step in (
        9,
        1_000_000,
        20,
    ):  # 20: resumed from before 1,000,000, whose future did not happen
        path = checkpoints.save(step, {"x": step})
    assert sorted(os.listdir(tmp_path / "checkpoints")) == [
        "best.pt",
        "step_000000000009.pt",
        "step_000000000020.pt",
    ]
    assert checkpoints.last() == path
    checkpoints.save(30, {"x": 30})
    assert [p.name for _, p in checkpoints._steps()] == [
        "step_000000000020.pt",
        "step_000000000030.pt",
    ]


def test_nothing_is_deleted_when_the_new_one_cannot_be_written(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=1)
    old = checkpoints.save(1, {"x": 1})

    def full(tree, file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        checkpoints.save(2, {"x": 2})
    assert os.listdir(tmp_path) == [old.name]


def test_last_passes_a_damaged_newest_with_a_warning(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    good = checkpoints.save(1, {"x": 1})
    bad = checkpoints.save(2, {"x": torch.arange(1000)})
    raw = bytearray(bad.read_bytes())
    raw[len(raw) // 2] ^= 1
    bad.write_bytes(raw)
    with pytest.warns(RuntimeWarning, match="step_000000000002.pt"):
        assert checkpoints.last() == good


@pytest.mark.skipif(os.name != "posix", reason="asks whether a process lives")
def test_leftovers_are_cleaned_up_but_not_what_another_process_is_writing(tmp_path):
    (tmp_path / "step_000000000001.pt.tmp").write_bytes(b"half")
    (tmp_path / f"step_000000000002.pt.{os.getpid()}.tmp").write_bytes(b"half")
    (tmp_path / f"step_000000000003.pt.{2**22 + 1}.tmp").write_bytes(
        b"half"
    )  # beyond the largest process id
    live = tmp_path / f"step_000000000004.pt.{os.getppid()}.tmp"
    live.write_bytes(b"half")
    Checkpoints(tmp_path)  # who reads deletes nothing
    assert len(list(tmp_path.iterdir())) == 4
    Checkpoints(tmp_path).prepare()
    assert list(tmp_path.iterdir()) == ([live] if os.getppid() > 0 else [])


def test_a_checkpoint_is_read_in_a_new_process(tmp_path):
    import subprocess

    checkpoint.save(tmp_path / "a.pt", {"x": torch.arange(3)})
    code = (
        "import sys, pathlib; from bio_rl.training import checkpoint; "
        "print(checkpoint.load(pathlib.Path(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.pt")], capture_output=True, text=True
    )
    assert "tensor([0, 1, 2])" in done.stdout, done.stderr

"""config.json keeps who began a run and who went on with it; text of others is safe to print;
failing writes leave no trace.
"""

from __future__ import annotations

import json
import os

import pytest
import torch

from bio_rl.__main__ import main
from bio_rl.machine import files
from bio_rl.machine.files import printable
from bio_rl.training import checkpoint, runfolder
from bio_rl.training.checkpoint import CheckpointError, Checkpoints


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A run folder that another version began."""
    with monkeypatch.context() as patch:
        patch.setattr(
            runfolder,
            "versions",
            lambda: {"python": "3.9.1", "torch": "2.0.0", "mujoco": None, "platform": "x"},
        )
        patch.setattr(runfolder, "commit", lambda: {"hash": "a" * 40, "dirty": False})
        runfolder.write_config(tmp_path, {"run": {"steps": 1}})
    monkeypatch.setattr(
        runfolder,
        "versions",
        lambda: {"python": "3.9.1", "torch": "2.7.1", "mujoco": "3.1", "platform": "x"},
    )
    monkeypatch.setattr(runfolder, "commit", lambda: {"hash": "b" * 40, "dirty": True})
    return tmp_path


def test_a_resume_keeps_the_history_and_says_what_is_not_as_it_was(begun):
    assert runfolder.note_resume(begun, 500) == [
        "torch 2.0.0 when it began, 2.7.1 now",
        "mujoco not installed when it began, 3.1 now",
        f"commit {'a' * 12} when it began, {'b' * 12} with uncommitted changes now",
    ]
    runfolder.note_resume(begun, 900)
    config = runfolder.read_config(begun)
    assert config["versions"]["torch"] == "2.0.0" and config["commit"]["hash"] == "a" * 40
    assert [entry["step"] for entry in config["history"]] == [500, 900]
    assert set(config["history"][0]) == {"versions", "commit", "step", "time"}
    assert config["history"][0]["versions"]["torch"] == "2.7.1" and config["run"] == {"steps": 1}


def test_a_resume_that_is_made_longer_does_not_forget_who_began_it(begun):
    runfolder.note_resume(begun, 500)
    runfolder.write_config(begun, {"run": {"steps": 2}})
    config = runfolder.read_config(begun)
    assert config["run"] == {"steps": 2} and config["versions"]["torch"] == "2.0.0"
    assert config["commit"]["hash"] == "a" * 40 and len(config["history"]) == 1


def test_the_same_versions_are_nothing_to_speak_of(tmp_path):
    runfolder.write_config(tmp_path, {})
    assert runfolder.note_resume(tmp_path, 1) == []


@pytest.mark.parametrize("name", ["versions", "commit", "history"])
@pytest.mark.parametrize(
    "value", [None, 3, "\x1b[31m", [1], {"torch": "\x1b[2J", "hash": "\x1b[2J"}, {}]
)
def test_a_history_that_somebody_has_changed_does_not_stop_a_resume(begun, name, value):
    config = runfolder.read_config(begun)
    (begun / "config.json").write_text(json.dumps(config | {name: value}))
    said = runfolder.note_resume(begun, 1)
    assert said and all(line.isprintable() for line in said)
    assert runfolder.read_config(begun)["history"][-1]["step"] == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words, ä and 日本", "plain words, ä and 日本"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\nb\r\tc\x00", "a\\nb\\r\\tc\\x00"),
        ("\x9b31m\x85", "\\x9b31m\\x85"),
        ("gpj\u202egnp", "gpj\\u202egnp"),
        ("\u2066x\u2069\u200f", "\\u2066x\\u2069\\u200f"),
        ("\udc80", "\\udc80"),
        ("\u2028", "\\u2028"),
    ],
)
def test_text_of_others_is_printed_without_its_control_characters(text, shown):
    assert printable(text) == shown and printable(text).isprintable()
    assert printable("a\nb", keep="\n") == "a\nb"


@pytest.mark.parametrize("command", ["eval", "play", "resume", "plot"])
def test_a_message_about_a_strangers_folder_moves_no_cursor(tmp_path, capsys, command):
    folder = tmp_path / "evil\x1b[2J\u202e"
    (folder / "checkpoints").mkdir(parents=True)
    text = (
        '{"run": {"env": "\\u001b]0;x\\u0007", "agent": "\\u001b[31m", "network": "x"},'
        ' "agent": {}, "network": {}}'
    )
    (folder / "config.json").write_text(text)
    (folder / "metrics.jsonl").write_text('{"step": 1, "rollout/ep_rew_mean": 1.0}\n')
    with pytest.raises(SystemExit) as stopped:
        main([command, str(folder)])
    out, err = capsys.readouterr()
    assert stopped.value.code == 2 and (out + err).replace("\n", "").isprintable()


def test_a_latest_whose_name_would_move_the_cursor_is_refused(tmp_path):
    folder = tmp_path / "evil\x1b[2J"
    (folder / "checkpoints").mkdir(parents=True)
    (tmp_path / "latest").symlink_to(folder.name)
    with pytest.raises(ValueError, match="latest") as error:
        runfolder.resolve("latest", tmp_path)
    assert str(error.value).isprintable()


def test_a_config_that_does_not_fit_on_the_disk_says_what_is_left_and_leaves_no_temporary(
    tmp_path, monkeypatch
):
    runfolder.write_config(tmp_path, {"x": 1})

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(
        OSError,
        match=r"could not write .*config\.json: No space left on device; "
        r"the one before is untouched",
    ):
        runfolder.write_config(tmp_path, {"x": 2})
    with pytest.raises(OSError, match=r"result\.json: No space left on device; there is none yet"):
        runfolder.write_json(tmp_path / "result.json", {})
    monkeypatch.undo()
    assert runfolder.read_config(tmp_path)["x"] == 1 and os.listdir(tmp_path) == ["config.json"]


@pytest.mark.parametrize("place", ["checkpoints", "checkpoints/replay"])
def test_checkpoints_are_not_written_or_deleted_through_a_link(tmp_path, place):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "step_000000000001.pt").write_bytes(b"mine")
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).symlink_to(outside)
    with pytest.raises(ValueError, match="is a symlink; nothing is written"):
        Checkpoints(tmp_path / place).save(2, {"x": 1})
    with pytest.raises(ValueError, match="is a symlink; nothing is written"):
        checkpoint.save(tmp_path / place / "a.pt", {"x": 1})
    assert [p.name for p in outside.iterdir()] == ["step_000000000001.pt"]


@pytest.mark.parametrize(
    "junk",
    [{"tree": 3}, {"tree": [1]}, {}, {"version": "\x1b[31m"}, {"version": True}, {"version": [2]}],
)
def test_a_checkpoint_whose_outermost_parts_are_junk_is_refused_in_one_line(tmp_path, junk):
    torch.save(
        {"format": checkpoint.FORMAT, "version": checkpoint.VERSION, **junk}, tmp_path / "a.pt"
    )
    with pytest.raises(CheckpointError, match=r"a\.pt") as error:
        checkpoint.load(tmp_path / "a.pt")
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "junk",
    [
        {"__unsigned__": "load", "bits": 1},
        {"__unsigned__": "uint16", "bits": "x"},
        {"__unsigned__": ["uint16"]},
        {1, 2},
    ],
)
def test_parts_that_bio_rl_never_writes_are_refused_with_their_place(tmp_path, junk):
    whole = {"format": checkpoint.FORMAT, "version": checkpoint.VERSION, "tree": {"a": [0, junk]}}
    torch.save(whole, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt") as error:
        checkpoint.load(tmp_path / "a.pt")
    assert str(error.value).isprintable()

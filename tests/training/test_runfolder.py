"""Runs have unique folders, `latest` follows the newest, and config.json says what ran."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bio_rl.training import runfolder


def started(*arguments):
    """A new run folder that `latest` points to."""
    folder = runfolder.create(*arguments)
    runfolder.point_latest(folder)
    return folder


def test_a_run_folder_is_named_after_what_runs(tmp_path):
    folder = started(tmp_path / "runs", "my_module:bio_rl/Maze-v0", "ppo", "mlp", 3)
    assert folder.name.startswith("my_module-bio_rl-Maze-v0_ppo_mlp_s3_2")
    assert folder.parent == tmp_path / "runs" and (folder / "checkpoints").is_dir()


def test_runs_started_in_the_same_second_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(runfolder.time, "strftime", lambda form: "20260101-120000")
    assert len({started(tmp_path, "e", "a", "n", 0) for _ in range(3)}) == 3


def test_latest_follows_the_newest_run_and_survives_moving_the_folder(tmp_path):
    started(tmp_path / "runs", "e", "a", "n", 0)
    newest = started(tmp_path / "runs", "e", "a", "n", 1)
    assert runfolder.resolve("latest", tmp_path / "runs") == newest
    assert not list((tmp_path / "runs").glob("*.tmp"))
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert runfolder.resolve("latest", tmp_path / "moved").name == newest.name


def test_latest_takes_the_place_of_a_link_that_an_earlier_version_made(tmp_path):
    old = started(tmp_path, "e", "a", "n", 0)
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").symlink_to(old.name, target_is_directory=True)
    assert runfolder.resolve("latest", tmp_path) == old
    newest = started(tmp_path, "e", "a", "n", 1)
    assert (tmp_path / "latest").is_file() and (tmp_path / "latest").read_text() == newest.name
    assert runfolder.resolve("latest", tmp_path) == newest
    assert runfolder.resolve(str(tmp_path / "latest"), Path("elsewhere")) == newest
    assert (old / "checkpoints").is_dir()


def test_a_real_folder_called_latest_does_not_stop_a_run(tmp_path):
    (tmp_path / "latest" / "mine").mkdir(parents=True)
    with pytest.warns(RuntimeWarning, match="latest"):
        assert started(tmp_path, "e", "a", "n", 0).is_dir()
    assert (tmp_path / "latest" / "mine").is_dir()


def test_a_run_is_found_by_path_and_by_name(tmp_path, monkeypatch):
    folder = started(tmp_path / "runs", "e", "a", "n", 0)
    assert runfolder.resolve(str(folder), Path("elsewhere")) == folder
    assert runfolder.resolve(folder.name, tmp_path / "runs") == folder
    monkeypatch.chdir(tmp_path)
    assert runfolder.resolve("runs/latest", Path("runs")) == Path("runs") / folder.name


def test_a_missing_run_names_the_nearest_the_newest_and_how_to_make_one(tmp_path):
    with pytest.raises(ValueError, match=r"no runs yet.*python train\.py"):
        runfolder.resolve("latest", tmp_path / "nowhere")
    folder = started(tmp_path, "CartPole-v1", "ppo", "mlp", 0)
    with pytest.raises(
        ValueError,
        match=f"did you mean '{folder.name}'.*newest runs: {folder.name};.*python train.py",
    ):
        runfolder.resolve(folder.name[:-2], tmp_path)
    with pytest.raises(ValueError, match="did you mean 'latest'"):
        runfolder.resolve("latets", tmp_path)
    with pytest.raises(ValueError, match="newest runs"):
        runfolder.resolve("", tmp_path)
    (tmp_path / "notes").mkdir()
    with pytest.raises(ValueError, match="neither config"):
        runfolder.resolve("notes", tmp_path)
    (folder / "checkpoints").rmdir()
    folder.rmdir()
    with pytest.raises(ValueError, match=f"it stands for {folder.name}, which is gone"):
        runfolder.resolve("latest", tmp_path)


def test_runs_are_listed_newest_first_without_latest(tmp_path):
    folders = [started(tmp_path, "e", "a", "n", seed) for seed in range(3)]
    for age, folder in enumerate(folders):
        os.utime(folder, (1000 - age, 1000 - age))
    assert runfolder.runs(tmp_path) == folders


def test_the_config_says_what_ran(tmp_path):
    runfolder.write_config(
        tmp_path, {"env": "CartPole-v1", "lr": 3e-4, "folder": tmp_path, "layers": (64, 64)}
    )
    config = runfolder.read_config(tmp_path)
    assert (
        config["lr"] == 3e-4 and config["layers"] == [64, 64] and config["folder"] == str(tmp_path)
    )
    assert config["versions"]["python"] == sys.version.split()[0]
    assert set(config["versions"]) == {
        "python",
        "bio_rl",
        "torch",
        "numpy",
        "gymnasium",
        "mujoco",
        "platform",
    }
    assert "commit" in config and os.listdir(tmp_path) == ["config.json"]


def test_a_config_that_json_cannot_hold_leaves_the_old_one(tmp_path):
    runfolder.write_config(tmp_path, {"x": 1})
    with pytest.raises(TypeError, match="set"):
        runfolder.write_config(tmp_path, {"x": {1, 2}})
    assert runfolder.read_config(tmp_path)["x"] == 1 and os.listdir(tmp_path) == ["config.json"]


@pytest.mark.parametrize("content", [None, "{half", "[1]"])
def test_a_missing_or_damaged_config_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json.*run folder"):
        runfolder.read_config(tmp_path)


def test_the_commit_is_that_of_the_checkout_that_tracks_the_package(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        return subprocess.run(
            ["git", "-C", tmp_path, *identity, *arguments],
            check=True,
            capture_output=True,
            text=True,
        )

    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert runfolder.commit(package) is None
    try:
        git("init", "-q")
    except (OSError, subprocess.SubprocessError):
        pytest.skip("no git here")
    assert runfolder.commit(package) is None, "inside a repository that does not track it"
    git("add", "pkg")
    git("commit", "-q", "-m", "first")
    clean = {"hash": git("rev-parse", "HEAD").stdout.strip(), "dirty": False}
    assert runfolder.commit(package) == clean
    (tmp_path / "docs").mkdir()
    for text in ("docs/page.md", "docs/results.json", "out.json"):
        (tmp_path / text).touch()
    assert runfolder.commit(package) == clean, "a page or a result is no code"
    (package / "new_agent.py").touch()
    assert runfolder.commit(package) == {**clean, "dirty": True}
    monkeypatch.setenv("PATH", "")
    assert runfolder.commit(package) is None

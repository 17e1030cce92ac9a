"""A run and its pictures in a notebook."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import replace

import pytest

import bio_rl
from bio_rl.viz.card import Shown

SMALL = {"steps": 512, "num_envs": 2, "eval_episodes": 1, "checkpoints": 2, "network": "mlp"}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> bio_rl.Run:
    folder = tmp_path_factory.mktemp("runs")
    ppo = {"update_every": 32, "minibatch": 32, "epochs": 1, "sequence": 8}
    return bio_rl.train("CartPole-v1", run_dir=folder, ppo=ppo, quiet=True, **SMALL)


def pictures(page: str) -> list[bytes]:
    return [base64.b64decode(x) for x in re.findall(r"data:image/png;base64,([^\"]*)", page)]


def test_a_card_says_what_was_trained_and_shows_its_curve(run):
    pytest.importorskip("matplotlib")
    page = run._repr_html_()
    for word in ("CartPole-v1", "ppo", "mlp", "512", str(run.evaluation), str(run.folder)):
        assert word in page
    assert pictures(page)[0].startswith(b"\x89PNG")
    assert not (run.folder / "learning_curves.png").exists()


def test_a_card_of_a_loaded_run_has_the_score_of_its_training(run):
    loaded = bio_rl.load(run.folder)
    mean = f"{run.evaluation.mean:.1f}"
    assert f"greedy return {mean}, in {run.folder}>" in repr(loaded)
    assert repr(loaded).startswith("<Run CartPole-v1 · ppo · mlp · 512 steps")
    # weights of another step were not evaluated at the end
    assert "not evaluated" in repr(bio_rl.Run.of(replace(loaded, steps=256)))


def test_nothing_of_a_run_folder_is_taken_for_html(run, tmp_path):
    strange = tmp_path / "<script>alert(1)</script>"
    page = bio_rl.Run.of(replace(run, folder=strange))._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_a_picture_is_a_path_that_a_notebook_shows(run, tmp_path):
    pytest.importorskip("matplotlib")
    path = run.curve(tmp_path / "curve.png")
    assert os.fspath(path) == str(tmp_path / "curve.png") and path.parent == tmp_path
    assert pictures(path._repr_html_()) == [path.read_bytes()]


@pytest.mark.parametrize(
    ("name", "tag"),
    [("a.mp4", "<video "), ("a.gif", "<img "), ("a.svg", "<img "), ("a.pdf", "<code>")],
)
def test_files_are_shown_by_their_kind(tmp_path, name, tag):
    (tmp_path / name).write_bytes(b"content")
    assert Shown(tmp_path / name)._repr_html_().startswith(tag)
    assert Shown(tmp_path / f"no_{name}")._repr_html_().startswith("<code>")

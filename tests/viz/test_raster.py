"""What a brain that learns reports is what is recorded, logged and drawn; the brain that was
trained stays as it is.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

import bio_rl
from bio_rl import vector
from bio_rl.__main__ import main
from bio_rl.contracts import Episodes
from bio_rl.state import leaves
from bio_rl.training import api, config
from bio_rl.training.metrics import read_rows, to_floats
from bio_rl.training.recording import Recording, record, record_window
from bio_rl.viz import dopamine, raster

SMALL = {
    "agent": "three_factor",
    "steps": 150,
    "episodes": 0,
    "num_envs": 1,
    "eval_episodes": 0,
    "cells": {"ticks": 4},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return bio_rl.train("CartPole-v1", run_dir=tmp_path_factory.mktemp("runs"), **SMALL).folder


@pytest.fixture(scope="module")
def life(run) -> tuple[Recording, list[dict[str, float]], list[torch.Tensor], list[torch.Tensor]]:
    """(Recording, what every update of that life reported, weights before the first and after each,
    eligibility after each).
    """
    reported, eligibility = [], []
    with closing(vector.make("CartPole-v1", 1)) as env:
        agent = bio_rl.load(run).learner(env, 40)
        update, weights = agent.update, [agent.readout.weight.clone()]

        def spied(rollout, state):
            state, metrics = update(rollout, state)
            reported.append(to_floats(metrics))
            weights.append(agent.readout.weight.clone())
            eligibility.append(state.readout.traces.e.clone())
            return state, metrics

        agent.update = spied
        return record_window(agent, env, 3, 40), reported, weights, eligibility


def refused(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_what_is_recorded_is_what_the_updates_reported(life):
    seen, reported, _, _ = life
    shown = reported[seen.first :]
    assert len(shown) == len(seen.rewards) == len(seen.actions) == 40
    assert {"dopamine/rpe", "dopamine/value", "plasticity/eligibility", "plasticity/change"} <= set(
        seen.reported
    )
    for name, values in seen.reported.items():
        np.testing.assert_array_equal(values, [x[name] for x in shown])


def test_dopamine_at_a_fall_is_the_reward_less_what_was_expected(life):
    seen = life[0]
    fell = seen.terminated
    assert fell.any() and not fell.all()
    value, rpe = seen.reported["dopamine/value"], seen.reported["dopamine/rpe"]
    np.testing.assert_allclose(rpe[fell], seen.rewards[fell] - value[fell], rtol=1e-5)
    assert (abs(rpe - (seen.rewards - value))[~fell] > 1e-3).any()  # elsewhere the future counts


def test_eligibility_and_change_are_those_of_the_synapses(life):
    seen, _, weights, eligibility = life
    steps = range(seen.first, seen.first + 40)
    for part, rows in {"": slice(None), "_actor": slice(0, -1), "_critic": slice(-1, None)}.items():
        e = [float(eligibility[t][:, rows].abs().mean()) for t in steps]
        np.testing.assert_allclose(seen.reported[f"plasticity/eligibility{part}"], e, rtol=1e-5)
    change = [float((weights[t + 1] - weights[t]).abs().mean()) for t in steps]
    np.testing.assert_allclose(seen.reported["plasticity/change"], change, rtol=1e-3, atol=1e-8)
    np.testing.assert_allclose(
        seen.reported["plasticity/weight"], [float(weights[t + 1].norm()) for t in steps], rtol=1e-5
    )


def test_the_panels_draw_what_was_reported_where_the_reward_has_come(life):
    plt = pytest.importorskip("matplotlib.pyplot")
    seen = life[0]
    edges = np.arange(41) * 4.0
    drawn = dopamine.panels(seen)
    figure, (stems, value, eligibility, change) = plt.subplots(len(drawn))
    for axis, (_, draw_on) in zip((stems, value, eligibility, change), drawn, strict=True):
        draw_on(axis, seen, edges)
    heads = {x: y for line in stems.lines[:2] for x, y in zip(*line.get_data(), strict=True)}
    assert heads == dict(zip(edges[1:], seen.reported["dopamine/rpe"], strict=True))
    np.testing.assert_array_equal(
        value.patches[0].get_data().values, seen.reported["dopamine/value"]
    )
    for line, part in zip(eligibility.lines, ("actor", "critic"), strict=True):
        assert line.get_label() == part and line.get_xdata()[0] == 4.0
        np.testing.assert_array_equal(
            line.get_ydata(), seen.reported[f"plasticity/eligibility_{part}"]
        )
    np.testing.assert_array_equal(change.lines[0].get_ydata(), seen.reported["plasticity/change"])
    plt.close(figure)


def test_spikes_are_those_of_the_same_decisions(life):
    """Four ticks each: a cell that fires in a decision has a higher eligibility at the critic than
    one that is silent.
    """
    seen, _, _, eligibility = life
    spikes = seen.train("spikes/1").reshape(40, 4, -1)
    for t in range(40):
        fired = torch.from_numpy(spikes[t].any(0))
        assert fired.any() and (eligibility[seen.first + t][0, -1, fired] > 0).all()
    start = (
        int(np.flatnonzero(seen.terminated)[0]) + 1
    )  # of an episode: nothing from before is left
    assert (
        eligibility[seen.first + start][0, -1, ~torch.from_numpy(spikes[start].any(0))] == 0
    ).all()


@pytest.mark.parametrize("decisions", [1, 5, 8])
def test_a_short_recording_holds_the_first_end_with_a_quarter_after_it(run, decisions):
    with closing(vector.make("CartPole-v1", 1)) as env:
        seen = record_window(bio_rl.load(run).learner(env, decisions), env, 3, decisions)
    assert len(seen.rewards) == decisions and seen.first > 0
    assert np.flatnonzero(seen.terminated).tolist() == [decisions - 1 - decisions // 4]


def test_a_frozen_brain_shows_what_its_critic_expects_and_learns_nothing(run):
    trained = bio_rl.load(run)
    before = [x.clone() for x in leaves(trained.agent.state_dict()["modules"])]
    with closing(vector.make("CartPole-v1", 1)) as env:
        seen = record(trained.agent, env, 3, 6)
    assert list(seen.reported) == ["dopamine/value"] and len(dopamine.panels(seen)) == 1
    x = torch.from_numpy(seen.train("spikes/1").reshape(6, 4, -1).mean(1))
    by_hand = (x / x.norm(dim=-1, keepdim=True)) @ trained.agent.readout.weight[0, -1]
    np.testing.assert_allclose(seen.reported["dopamine/value"], by_hand, rtol=1e-4)
    assert all(
        torch.equal(a, b)
        for a, b in zip(before, leaves(trained.agent.state_dict()["modules"]), strict=True)
    )


def test_play_learns_in_a_copy_and_draws_it(run, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    trained, made, original = bio_rl.load(run), [], api.Trained.learner
    before = {name: x.clone() for name, x in trained.agent.state_dict()["modules"].items()}
    monkeypatch.setattr(api, "load", lambda *_, **__: trained)
    monkeypatch.setattr(api.Trained, "learner", lambda *a: made.append(original(*a)) or made[-1])
    main(
        [
            "play",
            str(run),
            "--learn",
            "on",
            "--raster",
            str(tmp_path / "dopamine.png"),
            "--decisions",
            "12",
        ]
    )
    assert (
        "wrote" in capsys.readouterr().out and (tmp_path / "dopamine.png").stat().st_size > 20_000
    )
    after = trained.agent.state_dict()
    assert all(torch.equal(after["modules"][name], x) for name, x in before.items())
    assert torch.equal(
        after["generators"], bio_rl.load(run, run_dir=run.parent).agent.state_dict()["generators"]
    )
    assert not torch.equal(made[0].readout.weight, before["readout.weight"])


def test_learning_is_refused_clearly_where_there_is_none_to_see(capsys, run, tmp_path):
    pytest.importorskip("matplotlib")
    assert "--learn on goes with --raster" in refused(capsys, "play", str(run), "--learn", "on")
    bio_rl.train(
        "CartPole-v1",
        network="mlp",
        steps=32,
        num_envs=2,
        run_dir=tmp_path,
        eval_episodes=0,
        ppo={"update_every": 16},
    )
    picture = str(tmp_path / "x.png")
    flags = ("play", "latest", "--run-dir", str(tmp_path), "--learn", "on", "--raster", picture)
    assert "ppo learns after 16 decisions, not at every one" in refused(capsys, *flags)
    whole = bio_rl.load(run)
    whole.agent.rollout = Episodes(1)
    with pytest.raises(ValueError, match="three_factor learns from whole episodes"):
        raster.draw(whole, Path(picture), 0, 5, learn=True)
    assert not Path(picture).exists()


def test_a_brain_without_spikes_is_drawn_by_what_it_learned(life, tmp_path):
    pytest.importorskip("matplotlib")
    silent = Recording(
        type(life[0].probe)(),
        *[getattr(life[0], n) for n in ("actions", "rewards", "terminated", "truncated")],
    )
    silent.reported.update(life[0].reported)
    assert (
        silent.ticks == 1
        and raster.picture(silent, tmp_path / "x.png", "no spikes").stat().st_size > 10_000
    )


def test_a_logged_row_is_the_mean_over_the_updates_since_the_last_and_lazy_values_wait_for_it(
    tmp_path, monkeypatch
):
    module = config.agents_module("three_factor")
    rpe, asked = [], []
    update = module.Agent.update

    def spied(self, rollout, state):
        state, metrics = update(self, rollout, state)
        rpe.append(float(metrics["dopamine/rpe"]))
        change, when = metrics["plasticity/change"], len(rpe)
        return state, {**metrics, "plasticity/change": lambda: asked.append(when) or change()}

    monkeypatch.setattr(module.Agent, "update", spied)
    settings = {**SMALL, "steps": 4000, "episodes": 15, "checkpoints": 1}
    rows = read_rows(
        bio_rl.train("CartPole-v1", run_dir=tmp_path, **settings).folder / "metrics.jsonl"
    )
    ends = [row["step"] for row in rows]  # every eighth step
    means = [np.mean(rpe[a:b]) for a, b in zip([0, *ends], ends, strict=False)]
    np.testing.assert_allclose([row["dopamine/rpe"] for row in rows], means, rtol=1e-4, atol=1e-6)
    assert ends[:2] == [8, 16] and set(ends) <= set(asked) and len(asked) < len(rpe) / 5

"""What a perturbation costs and how much comes back: the figures by hand, then through the command
line.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

import bio_rl
from bio_rl import vector
from bio_rl.__main__ import main
from bio_rl.contracts import Episodes
from bio_rl.state import leaves, tree_map
from bio_rl.training import api, build, resilience
from bio_rl.training.resilience import score, summarise

SMALL = {
    "steps": 512,
    "num_envs": 4,
    "eval_episodes": 0,
    "ppo": {"update_every": 16, "minibatch": 64},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    return bio_rl.train(
        "CartPole-v1", network="mlp", run_dir=folder, perturb="gravity=0.9..1.1", **SMALL
    ).folder


def refused(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    out = capsys.readouterr()
    return " ".join((out.err + out.out).split())


# by hand


def test_figures_of_a_life_that_falls_to_a_fifth_and_comes_back_by_steps() -> None:
    """1.0 for 100 steps, 0.2 for 40, 0.6 for 20, then 0.96: the drop is 0.8, and 0.92 is regained
    within the last part.
    """
    life = np.repeat([1.0, 0.2, 0.6, 0.96], [100, 40, 20, 40])
    x = summarise(np.stack([life, life]), 100, ["gravity=2"], learn=False)
    assert (x.before, x.asymptote, x.before_se, x.asymptote_se) == (
        1.0,
        pytest.approx(0.96),
        0.0,
        0.0,
    )
    assert x.drop == pytest.approx(0.8) and x.lowest == pytest.approx(0.2)
    # the mean of 10 steps reaches 0.92 with 9 of them at 0.96 and one at 0.6: 0.924, 69 steps after
    # the perturbation
    assert x.recovery == 69 and "after 69 steps" in str(x) and len(x.curve) == 200


def test_what_never_comes_back_and_what_never_dropped() -> None:
    lost = summarise(np.repeat([[1.0, 0.5]], 100, 1), 100, [], learn=False)
    assert lost.recovery is None and "never" in str(lost) and lost.drop == 0.5
    calm = summarise(np.ones((3, 200)), 100, [], learn=False)
    assert calm.recovery == 0 and calm.drop == 0 and "no drop" in str(calm)


def test_lives_of_many_episodes_are_smoothed_over_one() -> None:
    """Four slots of 10; from the second on each earns in its first half only."""
    life = np.concatenate([np.ones(10), np.tile(np.repeat([1.0, 0.0], 5), 3)])
    x = summarise(life[None], 10, [], learn=True, slot=10)
    assert (
        x.lowest == 0.5
        and x.curve[9] == 1.0
        and x.curve[14] == 1.0
        and x.curve[-1] == 0.5
        and x.recovery is None
    )


def test_standard_errors_are_over_lives() -> None:
    x = summarise(np.repeat([[1.0], [2.0], [6.0]], 40, 1), 20, [], learn=True)
    assert (
        x.before == 3
        and x.before_se == pytest.approx(np.sqrt(7 / 3)) == x.asymptote_se == x.curve_se[-1]
    )


def test_who_falls_earns_nothing_until_the_next_slot() -> None:
    rewards, fell = np.ones((2, 9)), np.zeros((2, 9), bool)
    fell[0, 1] = fell[0, 5] = True  # in the first slot of four; in the second
    np.testing.assert_array_equal(score(rewards, fell, 4), [[1, 1, 0, 0, 1, 1, 0, 0, 1], [1] * 9])


# a run


def test_a_run_is_trained_and_evaluated_under_its_perturbation(run) -> None:
    trained = bio_rl.load(run)
    assert (
        trained.experiment.run.perturb == ("gravity=0.9..1.1",)
        and "perturb" in trained.experiment.changed()
    )
    env = api.make_env(trained.experiment.run, 2)
    env.reset(0)
    gravity = env.env.unwrapped.constants["gravity"]
    assert gravity[0] != gravity[1] and (abs(gravity / 9.8 - 1) <= 0.1).all()


def test_eval_reports_and_draws_the_perturbed_life(capsys, run) -> None:
    pytest.importorskip("matplotlib")
    flags = [
        "eval",
        str(run),
        "--episodes",
        "4",
        "--steps",
        "60",
        "--at",
        "12",
        "--perturb",
        "force=0",
    ]
    main(flags)
    said = capsys.readouterr().out
    for word in (
        "before",
        "drop",
        "recovery",
        "asymptote",
        "frozen",
        "force=0 at step 12",
        "resilience.png",
    ):
        assert word in said
    assert (run / "resilience.png").stat().st_size > 10_000
    main([*flags, "--json"])
    figures = json.loads(capsys.readouterr().out)
    assert (
        figures["at"] == 12
        and len(figures["curve"]) == 60
        and figures["asymptote"] < figures["before"]
    )


def test_the_perturbation_acts_from_its_step_on_also_in_new_episodes(run) -> None:
    trained = bio_rl.load(run)
    plain, broken = (
        resilience.evaluate_run(trained, p, episodes=3, steps=40, at=5) for p in ([], ["force=0"])
    )
    assert plain.curve[:6] == broken.curve[:6] and plain.curve != broken.curve


def test_a_frozen_agent_stays_and_a_learning_copy_changes(run) -> None:
    trained = bio_rl.load(run)
    before = {name: x.clone() for name, x in trained.agent.state_dict()["modules"].items()}
    made = []
    original = build.make_agent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "make_agent", lambda *a: made.append(original(*a)) or made[-1])
        x = resilience.evaluate_run(trained, ["force=-1"], episodes=4, steps=64, learn=True)
    assert x.learn and len(x.curve) == 64
    after, learned = trained.agent.state_dict()["modules"], made[0].state_dict()["modules"]
    assert all((after[name] == value).all() for name, value in before.items())
    assert any((learned[name] != value).any() for name, value in before.items() if "weight" in name)


def test_an_agent_that_needs_whole_episodes_cannot_learn_here(run) -> None:
    trained = bio_rl.load(run)
    trained.agent.rollout = Episodes(1)
    with pytest.raises(ValueError, match="learns from whole episodes"):
        resilience.evaluate_run(trained, ["force=-1"], episodes=2, steps=8, learn=True)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--perturb", "gravty=2"],
            "no perturbation called 'gravty' for CartPole; did you mean 'gravity'",
        ),
        (["--perturb", "gravity=2", "--at", "500"], "--at is 500, expected a step from 1 to 499"),
        (["--perturb", "gravity=2", "--episodes", "0"], "--episodes is 0"),
        (["--learn", "on"], "--learn on goes with --perturb"),
        (["--at", "5"], "--at goes with --perturb"),
    ],
)
def test_eval_refuses(capsys, run, flags, message) -> None:
    assert message in refused(capsys, "eval", str(run), *flags)


@pytest.mark.parametrize("env", ["Acrobot-v1", "MountainCar-v0"])
def test_what_cannot_be_perturbed_is_said_at_once(env) -> None:
    with pytest.raises(ValueError, match=f"{env} cannot be perturbed; these can: CartPole-v1"):
        vector.make(env, 2, perturb=("gravity=2",))


def test_train_takes_the_flag(capsys, tmp_path) -> None:
    assert "needs a value, as in gravity=2" in refused(
        capsys, "--perturb", "gravity", "--run-dir", str(tmp_path)
    )
    assert not list(tmp_path.iterdir())


def test_a_perturbation_just_before_the_end_still_has_figures():
    found = summarise(np.ones((3, 1000)), 999, ["x"], learn=False, slot=1000)
    assert found.drop == 0.0 and found.lowest == 1.0


# brains that learn


def test_a_life_of_a_learning_brain_is_the_same_however_many_others_there_are(run) -> None:
    trained = bio_rl.load(run)
    arguments = {"perturb": ("force=-1@life:20",), "seed": 7, "steps": 70}
    alone = resilience._learning_lives(trained, lives=1, **arguments)
    among = resilience._learning_lives(trained, lives=3, **arguments)
    for one, three in zip(alone, among, strict=True):
        np.testing.assert_array_equal(one[0], three[0])
    assert (among[1][0] != among[1][1]).any() and (among[1][1] != among[1][2]).any()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("env_id", "agent"),
    [
        ("CartPole-v1", "ppo"),
        ("CartPole-v1", "three_factor"),
        ("CartPole-v1", "dqn"),
        ("Pendulum-v1", "sac"),
    ],
)
def test_what_one_brain_learns_changes_no_other(env_id, agent, tmp_path) -> None:
    small = (
        {**SMALL, "steps": 160}
        if agent == "ppo"
        else {"steps": 160, "num_envs": 4, "eval_episodes": 0}
    )
    trained = bio_rl.load(bio_rl.train(env_id, agent=agent, run_dir=tmp_path, **small).folder)
    env = api.make_env(trained.experiment.run, resilience.bodies_of(trained))
    one, other = (resilience.own_brain(trained, env, 400, seed) for seed in (3, 4))
    before = [_copied(x.state_dict()) for x in (trained.agent, other)]
    assert not np.array_equal(*(np.asarray(x.state_dict()["generators"]) for x in (one, other)))
    resilience._live(one, env, 3, 400, learn=True)
    for agent_now, then in zip((trained.agent, other), before, strict=True):
        assert _differs(agent_now.state_dict(), then) == []
    assert _differs(one.state_dict()["modules"], trained.agent.state_dict()["modules"])


def _copied(tree):
    return tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, tree)


def _differs(tree, then) -> list[int]:
    """Which leaves of a state are not the same."""
    pairs = zip(leaves(tree), leaves(then), strict=True)
    return [
        i for i, (a, b) in enumerate(pairs) if isinstance(a, torch.Tensor) and not torch.equal(a, b)
    ]


@pytest.mark.parametrize(
    ("limit", "at", "steps", "learn", "expected"),
    [
        (500, None, None, False, (250, 500)),
        (None, None, None, False, (500, 1000)),
        (500, None, None, True, (2500, 22_500)),
        (None, None, None, True, (5000, 45_000)),
        (500, 100, None, True, (100, 20_100)),
        (500, None, 80, True, (40, 80)),
        (500, 7, 80, True, (7, 80)),
        (500, 7, None, False, (7, 500)),
    ],
)
def test_a_brain_that_learns_lives_long_enough_to_learn_anew(
    limit, at, steps, learn, expected
) -> None:
    assert resilience.life_of(limit, at, steps, learn) == expected


def test_each_life_of_a_learning_brain_is_said_to_have_one_with_the_exact_command(
    capsys, run
) -> None:
    main(
        [
            "eval",
            str(run),
            "--episodes",
            "2",
            "--steps",
            "60",
            "--at",
            "12",
            "--perturb",
            "force=1|0",
            "--learn",
            "on",
        ]
    )
    said = capsys.readouterr()
    command = (
        f"eval {run} --perturb 'force=1|0' --learn on --episodes 2 --at 12 --steps 60"
        f" --seed {api.FINAL_SEED}"
    )
    assert command in said.out and "a brain each, learning goes on" in said.out
    assert "--perturb gravity=0.9..1.1" in said.out and "--ppo.update-every 16" in said.out
    assert "life 2 of 2" in said.err
    line = next(line for line in said.out.splitlines() if "train.py eval" in line)
    arguments = shlex.split(line.partition("train.py ")[2])
    main([*arguments, "--json"])
    assert json.loads(capsys.readouterr().out)["lives"] == 2


def test_a_frozen_brain_that_falls_in_its_one_episode_is_not_said_to_be_lost(run) -> None:
    trained = bio_rl.load(run)
    short = resilience.evaluate_run(trained, ["force=0"], episodes=3, at=3)
    assert short.recovery is None and short.one_fall and "--steps gives more" in str(short)
    long = resilience.evaluate_run(trained, ["force=0"], episodes=3, at=3, steps=1200)
    assert not long.one_fall and "--steps gives more" not in str(long)


def test_lives_that_come_back_are_counted_one_by_one() -> None:
    back, gone = np.repeat([1.0, 0.2, 1.0], [100, 40, 60]), np.repeat([1.0, 0.2], [100, 100])
    x = summarise(np.stack([back, gone, np.ones(200)]), 100, ["gravity=2"], learn=True)
    assert x.lives_back == 2 and "2 of 3 lives by themselves" in str(x)

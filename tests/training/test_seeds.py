"""Several seeds in one program: each ends, is saved and can be resumed as if it had been alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from bio_rl.__main__ import main
from bio_rl.faults import DivergedError, SeedDivergedError
from bio_rl.machine import trust
from bio_rl.training import api, checkpoint, config
from bio_rl.training.metrics import read_rows
from bio_rl.vector import SideBySide, make

TOY = "tests.training.toy_agent:Agent"
SMALL = {"num_envs": 2, "eval_episodes": 0, "checkpoints": 4}
DQN = {"start": 20, "batch": 8, "replay": 500}


@pytest.fixture(autouse=True)
def toy() -> None:
    trust.import_named("tests.training.toy_agent")


def experiment(folder: Path, agent: str = TOY, own: Any = None, **run: Any) -> config.Experiment:
    env = run.pop("env", "CartPole-v1")
    settings = {**SMALL, "run_dir": folder, **run}
    tiny = {"hidden": (8,)}
    return config.experiment(
        env, agent, "mlp", agent_settings=own, network_settings=tiny, **settings
    )


def result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def saved(folder: Path) -> list[int]:
    return sorted(int(path.stem[5:]) for path in (folder / "checkpoints").glob("step_*.pt"))


def tree(folder: Path) -> dict[str, Any]:
    return checkpoint.load(max((folder / "checkpoints").glob("step_*.pt")))


def folder_of(parent: Path, seed: int) -> Path:
    return next(parent.glob(f"*_s{seed}_*"))


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Agent, lives, episodes and counters of two checkpoints are the same, bit by bit."""
    for name, value in one["agent"].items():
        assert torch.equal(value, other["agent"][name]), name
    assert one["runner"]["seen"] == other["runner"]["seen"]
    assert one["runner"]["updates"] == other["runner"]["updates"]
    for name in ("returns", "lengths", "count"):
        assert torch.equal(one["stats"][name], other["stats"][name])
    for a, b in zip(one["runner"]["life"][0], other["runner"]["life"][0], strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("bound", [{"steps": 400}, {"steps": 100_000, "episodes": 7}])
def test_every_seed_ends_as_it_would_have_alone(tmp_path: Path, bound: dict[str, int]) -> None:
    trained = api.run_seeds(experiment(tmp_path / "together", seeds=3, seed=4, **bound))
    for i, one in enumerate(trained):
        alone = api.run_experiment(experiment(tmp_path / "alone", seed=4 + i, **bound))
        assert_equal(tree(alone.folder), tree(one.folder))
        assert result(one.folder)["returns"] == result(alone.folder)["returns"]
        assert one.steps == alone.steps == result(one.folder)["steps"]
        assert saved(one.folder) == saved(alone.folder)
    ends = {one.steps for one in trained}
    assert len(ends) == (3 if "episodes" in bound else 1)


def test_a_seed_that_has_finished_is_left_as_it_was_while_the_others_go_on(tmp_path: Path) -> None:
    trained = api.run_seeds(experiment(tmp_path, seeds=3, steps=100_000, episodes=7))
    first = min(trained, key=lambda one: one.steps)
    rows = read_rows(first.folder / "metrics.jsonl")
    assert rows[-1]["step"] == first.steps == saved(first.folder)[-1]
    assert tree(first.folder)["stats"]["count"] >= 7
    weight = float(first.agent.weight)
    assert weight == float(tree(first.folder)["agent"]["weight"])
    assert weight == first.steps  # a pole that stands earns 1 a step


def test_a_finished_seed_can_be_resumed_alone(tmp_path: Path) -> None:
    trained = api.run_seeds(experiment(tmp_path / "two", seeds=2, steps=100_000, episodes=5))
    again = api.resume(trained[1].folder, episodes=9)
    whole = api.run_experiment(experiment(tmp_path / "one", seed=1, steps=100_000, episodes=9))
    assert_equal(tree(whole.folder), tree(again.folder))


@pytest.mark.parametrize("how", ["weights", "loss", "action"])
def test_a_seed_that_diverges_is_named_and_the_others_are_kept(tmp_path: Path, how: str) -> None:
    own = {"spoilt": 6, "how": how}
    together = experiment(
        tmp_path, own=own, env="Pendulum-v1", seed=5, seeds=3, steps=400, checkpoints=1
    )
    with pytest.raises(DivergedError, match=r"^seed 6: .*diverged") as error:
        api.run_seeds(together)
    said = str(error.value)
    spoilt, healthy = folder_of(tmp_path, 6), [folder_of(tmp_path, seed) for seed in (5, 7)]
    assert str(spoilt) in said.partition("the other seeds")[0]
    for folder in healthy:
        assert str(folder) in said.partition("the other seeds")[2]
        # An action of NaN comes in the middle of a rollout, which no checkpoint can hold.
        assert saved(folder)[-1] == (0 if how == "action" else 20)
        assert api.resume(folder).steps == 400
    assert saved(spoilt) == [0]


def test_the_numbers_of_a_finished_seed_are_not_looked_at(tmp_path: Path) -> None:
    """Seed 0 diverges after its end, while the others still train."""
    plain = api.run_seeds(experiment(tmp_path / "plain", seeds=3, steps=100_000, episodes=7))
    first = min(range(3), key=lambda i: plain[i].steps)
    at = plain[first].steps // 4 + 2  # updates of 2 steps in 2 environments
    own = {"spoilt": first, "at": at}
    bound = {"steps": 100_000, "episodes": 7}
    spoilt = api.run_seeds(experiment(tmp_path / "spoilt", own=own, seeds=3, **bound))
    assert [one.steps for one in spoilt] == [one.steps for one in plain]
    for one, other in zip(plain, spoilt, strict=True):
        assert_equal(tree(one.folder), tree(other.folder))


def test_an_agent_by_gradients_with_seeds_ends_each_by_its_episodes(tmp_path: Path) -> None:
    together = experiment(tmp_path, "dqn", DQN, seeds=2, steps=100_000, episodes=8)
    trained = api.run_seeds(together)
    assert len({one.steps for one in trained}) == 2
    for one in trained:
        assert tree(one.folder)["stats"]["count"] in (8, 9)
        assert saved(one.folder)[-1] == result(one.folder)["steps"] == one.steps
    assert api.resume(trained[0].folder, episodes=10).steps > trained[0].steps


@pytest.mark.parametrize(("agent", "network"), [("ppo", "mlp"), ("three_factor", "mlp")])
def test_the_agent_of_a_seed_that_ended_early_is_that_of_its_checkpoint(
    tmp_path: Path, agent: str, network: str
) -> None:
    run = {"num_envs": 2, "eval_episodes": 0, "checkpoints": 2, "run_dir": tmp_path}
    together = config.experiment(
        "CartPole-v1", agent, network, seeds=3, steps=100_000, episodes=20, **run
    )
    for one in api.run_seeds(together):
        kept = tree(one.folder)["agent"]["modules"]
        for name, value in one.agent.state_dict()["modules"].items():
            assert torch.equal(value, kept[name]), name


def test_the_command_line_draws_the_curve_of_every_seed(tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib")
    flags = f"--agent {TOY} --network mlp --seeds 2 --steps 400 --num-envs 2 --eval-episodes 0"
    main([*flags.split(), "--run-dir", str(tmp_path)])
    said = capsys.readouterr().out
    assert "seeds 0 to 1 side by side" in said
    for seed in (0, 1):
        assert (folder_of(tmp_path, seed) / "learning_curve.png").is_file()
        assert re.search(rf"resume \S*_s{seed}_\S* --steps 800 --trust tests.training.toy", said)


def test_an_agent_that_refuses_several_seeds_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.training import toy_agent

    def refuse(*_: Any, seed: Any, **__: Any) -> None:
        raise ValueError(f"one seed at a time, not {len(seed)}")

    monkeypatch.setattr(toy_agent.Agent, "__init__", refuse)
    with pytest.raises(ValueError, match="CartPole-v1 with 2 seeds: one seed at a time, not 2"):
        api.run_seeds(experiment(tmp_path, seeds=2))
    assert not list(tmp_path.iterdir())


def test_a_stopped_vector_stands_still_and_the_others_play_on() -> None:
    env, alone = SideBySide([make("CartPole-v1", 2) for _ in range(2)]), make("CartPole-v1", 2)
    env.reset(3)
    alone.reset(4)
    right = torch.ones(4, dtype=torch.int64)
    last = env.step(right)
    alone.step(right[:2])
    env.stop(0)
    for _ in range(30):
        step, other = env.step(right), alone.step(right[:2])
        assert torch.equal(step.obs[:2], last.obs[:2]) and not step.reward[:2].any()
        assert not step.terminated[:2].any() and step.valid is None
        assert torch.equal(step.obs[2:], other.obs) and torch.equal(step.reward[2:], other.reward)
    assert [end._replace(row=end.row - 2) for end in env.take_episodes()] == alone.take_episodes()


def test_an_action_of_nan_is_that_of_its_block() -> None:
    env = SideBySide([make("Pendulum-v1", 2) for _ in range(3)])
    env.reset(0)
    action = torch.zeros(6, 1)
    action[3] = float("nan")
    with pytest.raises(SeedDivergedError, match="environment 1 at step 0") as error:
        env.step(action)
    assert error.value.index == 1


@pytest.mark.parametrize(
    ("agent", "network", "own", "settings"),
    [
        ("dqn", "mlp", {**DQN, "explore_until": 0.6}, {"hidden": (8,)}),
        ("dqn", "spiking", DQN, {"hidden": (8,), "slope": (1.0, 20.0)}),
        ("sac", "mlp", {**DQN, "critic_hidden": (8,)}, {"hidden": (8,)}),
    ],
)
def test_an_off_policy_seed_follows_its_own_schedules_by_its_own_episodes(
    tmp_path: Path, agent: str, network: str, own: dict[str, Any], settings: dict[str, Any]
) -> None:
    """Exploration, learning rates and slopes of a seed are those it would have had alone."""

    def asked(folder: str, **run: Any) -> config.Experiment:
        return config.experiment(
            "CartPole-v1",
            agent,
            network,
            agent_settings={**own, "lr": 0.01, "lr_final": 0.0},
            network_settings=settings,
            **{**SMALL, "run_dir": tmp_path / folder, "steps": 100_000, "episodes": 8, **run},
        )

    together = api.run_seeds(asked("together", seeds=3))
    assert len({one.steps for one in together}) > 1
    for seed, one in enumerate(together):
        alone = api.run_experiment(asked("alone", seed=seed))
        assert one.steps == alone.steps
        modules = tree(alone.folder)["agent"]["modules"]
        for name, x in tree(one.folder)["agent"]["modules"].items():
            torch.testing.assert_close(x, modules[name], rtol=1e-3, atol=1e-5, msg=name)

"""Pavlov-v0: a trial by hand, the protocols, and what the ideal observer earns in each."""

import gymnasium as gym
import numpy as np
import pytest

from bio_rl.envs.neuroscience.pavlov import CUES, LICK, PHASES, Pavlov
from bio_rl.vector.trials import scores

TIMES = {"dt": 10, "iti": 20, "interval": 30, "us": 20}  # 2, 3 and 2 steps


def live(phase: str, kind: int, us: bool, licks: str) -> tuple[list[str], list[float]]:
    """What is seen before each action (letters of what is on, "." for nothing, "u" for the US), and
    rewards.
    """
    env = Pavlov(1, phases=(phase,), trials=1, **TIMES)
    while True:
        obs, _ = env.reset()
        if env.drawn["kind"][0, 0] == kind:
            break
    env.drawn["us"][:] = us
    seen, rewards = [], []
    for i, lick in enumerate(licks):
        seen.append("".join(np.array([*CUES, "u"])[obs[0] > 0]) or ".")
        obs, reward, terminated, _, _ = env.step(np.array([int(lick)]))
        rewards.append(round(float(reward[0]), 6))
        assert terminated[0] == (i == len(licks) - 1)
    return seen, rewards


def test_the_lick_of_the_cue_s_last_step_catches_the_drop() -> None:
    assert live("acquisition", 0, True, "0000100") == (
        [".", ".", "A", "A", "A", "u", "u"],
        [0, 0, 0, 0, 0.9, 0, 0],
    )


def test_every_other_lick_costs_and_the_sight_of_the_drop_is_too_late() -> None:
    assert live("acquisition", 0, True, "1111011")[1] == [-0.1, -0.1, -0.1, -0.1, 0, -0.1, -0.1]


def test_an_omitted_drop_is_neither_seen_nor_caught() -> None:
    assert live("omission", 0, False, "0000100") == (
        [".", ".", "A", "A", "A", ".", "."],
        [0, 0, 0, 0, -0.1, 0, 0],
    )


def test_second_order_trials_show_cue_after_cue() -> None:
    seen = live("second_order", 0, False, "0" * 10)[0]
    assert seen == [".", ".", "X", "X", "X", "A", "A", "A", ".", "."]


def test_blocking_shows_compounds() -> None:
    assert live("blocking", 1, True, "0" * 7)[0] == [".", ".", "BY", "BY", "BY", "u", "u"]


def test_drops_come_as_often_as_the_phase_says() -> None:
    env = Pavlov(1, phases=("acquisition", "omission"), trials=40_000)
    drawn = env.draw(np.random.default_rng(0))
    assert [drawn["us"][drawn["kind"] == k].mean() for k in range(4)] == pytest.approx(
        [1, 0, 0.75, 0], abs=0.02
    )
    assert (np.diff(drawn["kind"] // 2) >= 0).all() and (
        drawn["kind"] < 2
    ).mean() == 0.5  # one phase, then the other


PROTOCOLS = [
    ("acquisition", "extinction"),
    ("acquisition", "omission"),
    ("acquisition", "blocking", "probe"),
    ("acquisition", "second_order", "probe"),
]


@pytest.mark.parametrize("phases", PROTOCOLS)
def test_ideal_observer_earns_what_each_protocol_offers(phases: tuple[str, ...]) -> None:
    env = Pavlov(400, phases=phases)
    returns = scores(env, env.ideal(), 400, seed=3)
    offered = sum(
        np.mean([max(0, kind.p_us - LICK) for kind in PHASES[phases[i]]])
        for i in env.phase_of_trial
    )
    assert abs(returns.mean() - offered) < 3 * returns.std() / 400**0.5


def test_every_protocol_ends_within_the_registered_limit() -> None:
    env = gym.make_vec("bio_rl/Pavlov-v0", 50, phases=["second_order"])
    env.reset(seed=0)
    assert (
        env.drawn["ends"][:, :, -1].sum(1).max()
        <= 40 * env.periods.longest
        <= env.max_episode_steps
    )


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="phases has 'extinctoin', did you mean 'extinction'"):
        Pavlov(phases=["extinctoin"])
    with pytest.raises(ValueError, match="phases has 0 names"):
        Pavlov(phases=[])
    with pytest.raises(ValueError, match="period early lasts 10 ms"):
        Pavlov(interval=10)

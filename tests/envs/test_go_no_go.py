"""GoNoGo-v0: one go and one no-go trial by hand."""

import numpy as np
import pytest

from bio_rl.envs.neuroscience.go_no_go import GoNoGo

TIMES = {"dt": 10, "wait": 10, "stimulus": 20, "delay": 10, "response": 20}  # 1, 2, 1, 2 steps


def live(go: bool, actions: str) -> tuple[list[str], list[float], list[bool]]:
    """What is seen before each action ("g", "n", "c" or "."), rewards, and whether the only trial
    was over.
    """
    env = GoNoGo(1, trials=1, **TIMES)
    obs, _ = env.reset(seed=0)
    env.drawn["go"][:] = go
    seen, rewards, over = [], [], []
    for action in actions:
        seen.append("gnc"[obs[0].argmax()] if obs.any() else ".")
        obs, reward, terminated, _, _ = env.step(np.array([int(action)]))
        rewards.append(float(reward[0]))
        over.append(bool(terminated[0]))
    return seen, rewards, over


def test_a_response_to_go_pays_at_either_step_of_the_cue() -> None:
    assert live(True, "00001") == (list(".gg.c"), [0, 0, 0, 0, 1], [False] * 4 + [True])
    assert live(True, "000001") == (list(".gg.cc"), [0, 0, 0, 0, 0, 1], [False] * 5 + [True])


def test_a_response_to_no_go_costs_and_withholding_lasts_to_the_cue_s_end() -> None:
    assert live(False, "00001") == (list(".nn.c"), [0, 0, 0, 0, -1], [False] * 4 + [True])
    assert live(False, "000000") == (list(".nn.cc"), [0] * 6, [False] * 5 + [True])


def test_early_responses_cost_and_change_nothing_else() -> None:
    assert live(True, "11111") == (list(".gg.c"), [-0.1, -0.1, -0.1, -0.1, 1], [False] * 4 + [True])


def test_the_next_trial_follows_at_once() -> None:
    env = GoNoGo(1, trials=2, **TIMES)
    env.reset(seed=0)
    for action in (0, 0, 0, 0, 1):
        obs, *_ = env.step(np.array([action]))
    assert env.trial[0] == 1 and env.t[0] == 0 and not obs.any()


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="p_go is 2"):
        GoNoGo(p_go=2)
    with pytest.raises(ValueError, match="period delay lasts 4 ms"):
        GoNoGo(dt=10, delay=4)

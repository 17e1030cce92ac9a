"""SpikePattern-v0: timing by hand, frozen patterns, noise and jitter."""

import numpy as np
import pytest

from bio_rl.envs.neuroscience.spike_pattern import SpikePattern
from bio_rl.vector.trials import scores


def life(env: SpikePattern, choose_at: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Observations [T, N, 1 + afferents], the pattern shown [N], and the rewards [T, N] of choosing
    it at one step only.
    """
    obs, _ = env.reset(seed=0)
    shown, seen, rewards = env.drawn["is_b"][:, 0].astype(int), [obs], []
    for t in range(env.pattern + env.delay + 1):
        obs, reward, terminated, *_ = env.step(shown if t == choose_at else 1 - shown)
        assert (
            terminated.all() == (t == env.pattern + env.delay)
            and terminated.any() == terminated.all()
        )
        seen.append(obs)
        rewards.append(reward)
    return np.stack(seen), shown, np.stack(rewards)


@pytest.mark.parametrize(("choose_at", "paid"), [(20, 1), (19, -1), (21, -1)])
@pytest.mark.parametrize("delay", [0, 7])
def test_only_the_action_at_the_go_counts_and_the_last_step_pays(
    choose_at: int, paid: int, delay: int
) -> None:
    obs, _, rewards = life(SpikePattern(6, pattern=20, delay=delay), choose_at)
    assert (
        np.flatnonzero(obs[:, 0, -1]).tolist() == [20] and (obs[:, :, -1] == obs[:, :1, -1]).all()
    )
    assert (rewards[-1] == paid).all() and not rewards[:-1].any()


def test_without_noise_and_jitter_the_frozen_patterns_are_seen_and_nothing_else() -> None:
    env = SpikePattern(20, noise=0.0, jitter=0.0)
    obs, shown, _ = life(env, 0)
    assert set(shown) == {0, 1}
    for i, which in enumerate(shown):
        assert (obs[:100, i, :-1] == env.templates[which]).all() and not obs[100:, i, :-1].any()
    assert (SpikePattern(1).templates == env.templates).all()
    assert (SpikePattern(1, pattern_seed=1).templates != env.templates).any()
    assert scores(env, env.ideal(), 20).tolist() == [1.0] * 20


def test_noise_and_jitter_have_their_size() -> None:
    quiet, _, _ = life(SpikePattern(200, noise=10.0, rate=1e-3, jitter=0.0), 0)
    assert abs(quiet[:-1, :, :-1].mean() - 0.01) < 3e-4  # 10 Hz, less the spikes that coincide
    env = SpikePattern(200, noise=0.0, jitter=3.0, afferents=1)
    env.template_spikes = [np.array([[50, 0]])] * 2
    times = life(env, 0)[0][:-1, :, 0].argmax(0)
    assert abs(times.mean() - 50) < 1 and abs(times.std() - 3.0) < 0.6


def test_where_errors_are_possible_the_observer_still_tells_more_than_half() -> None:
    env = SpikePattern(500, afferents=5, jitter=20.0, noise=50.0)
    returns = scores(env, env.ideal(), 500)
    assert 0.05 < returns.mean() < 0.95


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="delay -1 ms"):
        SpikePattern(delay=-1)
    with pytest.raises(ValueError, match=r"rate is 0\.0 Hz"):
        SpikePattern(rate=0.0)

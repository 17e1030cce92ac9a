"""SpikePattern-v0: tell two frozen patterns of spikes apart, and be paid for it later."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from bio_rl.vector.native import Info, SingleEnv
from bio_rl.vector.trials import Drawn, Policy, TrialVectorEnv

ENV_IDS = {
    "bio_rl/SpikePattern-v0": {
        "entry_point": ":make",
        "vector_entry_point": ":SpikePattern",
        "max_episode_steps": 151,
    }
}

DT = 1.0  # ms per step


class SpikePattern(TrialVectorEnv):
    """Watch a pattern of spikes for 100 ms, say on the go whether it was A or B, and wait 50 ms for
    the reward.

    A step is 1 ms. Observations t = 0 to `pattern` - 1 are the pattern, observation t = `pattern`
    is the go, whose action is the choice; observations after it are background, and the action at t
    = `pattern` + `delay` is followed by the reward and the end. All other actions do nothing. A and
    B are Poisson spike trains of `rate` in each afferent, drawn once from `pattern_seed`: the same
    in every episode and every environment, so that slow weights can learn them. In each episode
    each of their spikes is moved by a normal time of deviation `jitter` (and lost where that leads
    out of the pattern), and Poisson spikes of `noise` are added in every step.

    Observations, float32 [N, afferents + 1]: 1 for a spike, else 0; last the go. Actions, int [N]:
    A 0, B 1. Reward: +1 for the pattern that was shown, -1 for the other. The ideal observer
    (`matched`) compares the likelihoods of the two templates. With other settings give
    `max_episode_steps` too: `pattern` + `delay` + 1. Izhikevich 2007, Cerebral Cortex 17: a reward
    that comes after the spikes that earned it.
    """

    # random: exact; ideal: 1, no error in 100,000 episodes with the default jitter and noise
    metadata: ClassVar[dict[str, Any]] = {
        **TrialVectorEnv.metadata,
        "reference": {"random": 0.0, "ideal": 1.0},
    }
    memory_fields = ("right",)

    def __init__(
        self,
        num_envs: int = 1,
        *,
        afferents: int = 100,
        pattern: int = 100,
        delay: int = 50,
        rate: float = 20.0,
        jitter: float = 2.0,
        noise: float = 5.0,
        pattern_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        """pattern, delay, jitter: ms. rate, noise: Hz. pattern_seed: of A and B."""
        if afferents < 1 or pattern < 1 or delay < 0:
            raise ValueError(
                f"afferents is {afferents}, pattern {pattern} ms, delay {delay} ms: expected at least 1, 1 and 0"
            )
        if not (0 < rate <= 1000 and 0 <= noise <= 1000 and jitter >= 0):
            raise ValueError(
                f"rate is {rate} Hz, noise {noise} Hz, jitter {jitter} ms: expected rate > 0, all >= 0, at most 1000 Hz"
            )
        self.afferents, self.pattern, self.delay, self.jitter, self.noise = (
            afferents,
            pattern,
            delay,
            jitter,
            noise,
        )
        self.templates = (
            np.random.default_rng(pattern_seed).random((2, pattern, afferents)) < rate * DT / 1000
        )
        self._spikes = [
            np.argwhere(template) for template in self.templates
        ]  # [n, 2]: time, afferent
        super().__init__(num_envs, trials=1, **kwargs)
        self._set_spaces(
            gym.spaces.Box(0.0, 1.0, (afferents + 1,), np.float32), gym.spaces.Discrete(2)
        )

    def _draw(self, rng: np.random.Generator) -> Drawn:
        """is_b bool [1]: which pattern; spikes bool [1, pattern + delay + 1, afferents]."""
        is_b, shape = rng.random() < 0.5, (self.pattern + self.delay + 1, self.afferents)
        size = shape[0] * shape[1]
        spikes = np.zeros(size, np.bool_)
        spikes[rng.integers(0, size, rng.poisson(self.noise * DT / 1000 * size))] = True
        time, afferent = self._spikes[int(is_b)].T
        if self.jitter > 0:
            time = np.rint(time + self.jitter / DT * rng.standard_normal(len(time))).astype(
                np.int64
            )
            seen = (time >= 0) & (time < self.pattern)
            time, afferent = time[seen], afferent[seen]
        spikes[time * self.afferents + afferent] = True
        return {"is_b": np.array([is_b]), "spikes": spikes.reshape(1, *shape)}

    def _forget(self, rows: np.ndarray) -> None:
        if not hasattr(self, "right"):
            self.right = np.zeros(self.num_envs, np.bool_)
        self.right[rows] = False

    def _react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        self.right = np.where(
            self.t == self.pattern, (actions == 1) == self.now("is_b"), self.right
        )
        over = self.t == self.pattern + self.delay
        return over * np.where(self.right, 1.0, -1.0), over, {}

    def _sense(self) -> np.ndarray:
        on = self.trial < self.trials
        obs = np.empty((self.num_envs, self.afferents + 1), np.float32)
        obs[:, :-1] = self.drawn["spikes"][self.rows, 0, self.t]
        obs[:, -1] = on & (self.t == self.pattern)
        obs[~on] = 0.0
        return obs

    def ideal(self) -> Policy:
        return matched(self.templates, self.jitter / DT, self.noise * DT / 1000)


def matched(templates: np.ndarray, jitter: float, noise: float) -> Policy:
    """The pattern that is likelier as a Poisson process, λ_k(t, i) = Σ over its spikes s of N(t; s,
    jitter²) + noise:

        Σ over spikes of log λ_B / λ_A - Σ over t, i of (λ_B - λ_A) > 0

    templates bool [2, T, afferents]; jitter in steps, noise in spikes per step. Exact but for
    spikes that fall together in a step, and for a pattern's spikes being of a known number.
    """
    steps, afferents = templates.shape[1:]
    apart = np.arange(steps)[:, None] - np.arange(steps)
    kernel = np.exp(-0.5 * np.square(apart / jitter)) if jitter > 0 else np.eye(steps)
    rates = kernel / kernel.sum(1).max() @ templates + max(noise, 1e-9)
    weights, bias = np.log(rates[1] / rates[0]), (rates[1] - rates[0]).sum()
    memory: np.ndarray | None = None  # [2, N]: the sum so far, steps since the start

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal memory
        fresh = memory is None or memory.shape[1] != len(obs)
        total, t = np.zeros((2, len(obs))) if fresh else np.where(begun, 0.0, memory)
        now = np.minimum(t, steps - 1).astype(np.int64)
        total = total + np.where(t < steps, (obs[:, :afferents] * weights[now]).sum(1), 0.0)
        memory = np.stack((total, t + 1))
        return (total > bias).astype(np.int64)

    return policy


make: Callable[..., gym.Env] = partial(SingleEnv, SpikePattern)

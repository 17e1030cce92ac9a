"""SpikePattern-v0: tell two frozen patterns of spikes apart, and be paid for it later."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from bio_rl.vector.infos import Info
from bio_rl.vector.labels import numbered
from bio_rl.vector.single import SingleEnv
from bio_rl.vector.trials import Drawn, Policy, TrialVectorEnv

ENV_IDS = {
    "bio_rl/SpikePattern-v0": {
        "entry_point": ":make",
        "vector_entry_point": ":SpikePattern",
        "max_episode_steps": 151,
    }
}

DT = 1.0  # ms per step
MS = 1000  # in a second
LEAST_NOISE = 1e-9  # spikes per step that the ideal observer reckons with, so that no rate is 0


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
        "actions": ("pattern A", "pattern B"),
        "dt": DT / MS,
        "reference": {"random": 0.0, "ideal": 1.0},
    }

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
                f"afferents is {afferents}, pattern {pattern} ms, delay {delay} ms: expected at "
                "least 1, 1 and 0"
            )
        if not (0 < rate <= MS and 0 <= noise <= MS and jitter >= 0):
            raise ValueError(
                f"rate is {rate} Hz, noise {noise} Hz, jitter {jitter} ms: expected rate > 0, all "
                ">= 0, at most 1000 Hz"
            )
        super().__init__(num_envs, trials=1, **kwargs)
        self.afferents = afferents
        self.pattern = pattern
        self.delay = delay
        self.jitter = jitter
        self.noise = noise
        rng = np.random.default_rng(pattern_seed)
        self.templates = rng.random((2, pattern, afferents)) < rate * DT / MS
        # Times and afferents of the spikes of A and of B, each [n, 2].
        self.template_spikes = [np.argwhere(template) for template in self.templates]
        self.right = self.state_array("right", dtype=np.bool_)
        space = gym.spaces.Box(0.0, 1.0, (afferents + 1,), np.float32)
        self.metadata["channels"] = (*numbered("afferent", afferents), "go")
        self.set_spaces(space, gym.spaces.Discrete(2))

    def draw(self, rng: np.random.Generator) -> Drawn:
        """is_b bool [1]: which pattern; spikes bool [1, pattern + delay + 1, afferents]."""
        is_b = rng.random() < 0.5
        steps = self.pattern + self.delay + 1
        size = steps * self.afferents

        # Flat, step after step: the place of a spike is time x afferents + afferent.
        spikes = np.zeros(size, np.bool_)
        added = rng.poisson(self.noise * DT / MS * size)
        spikes[rng.integers(0, size, added)] = True

        time, afferent = self.template_spikes[int(is_b)].T
        if self.jitter > 0:
            moves = self.jitter / DT * rng.standard_normal(len(time))
            time = np.rint(time + moves).astype(np.int64)
            inside = (time >= 0) & (time < self.pattern)
            time = time[inside]
            afferent = afferent[inside]
        spikes[time * self.afferents + afferent] = True

        return {
            "is_b": np.array([is_b]),
            "spikes": spikes.reshape(1, steps, self.afferents),
        }

    def react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """Note the choice at the go, and pay for it at the end."""
        go = self.t == self.pattern
        says_b = actions == 1
        correct = says_b == self.now("is_b")
        self.right = np.where(go, correct, self.right)

        over = self.t == self.pattern + self.delay
        # The choice at the go stands until then.
        earned = np.where(self.right, 1.0, -1.0)
        return over * earned, over, {}

    def sense(self) -> np.ndarray:
        """The spikes and the go."""
        going_on = self.going_on()
        spikes = self.drawn["spikes"]
        go = self.t == self.pattern

        obs = np.empty((self.num_envs, self.afferents + 1), np.float32)
        obs[:, :-1] = spikes[self.rows, 0, self.t]
        obs[:, -1] = going_on & go
        obs[~going_on] = 0.0
        return obs

    def ideal(self) -> Policy:
        """The likelier of the two templates."""
        jitter = self.jitter / DT
        noise = self.noise * DT / MS
        return matched(self.templates, jitter, noise)


def matched(templates: np.ndarray, jitter: float, noise: float) -> Policy:
    """The pattern that is likelier as a Poisson process, λ_k(t, i) = Σ over its spikes s of N(t; s,
    jitter²) + noise:

        Σ over spikes of log λ_B / λ_A - Σ over t, i of (λ_B - λ_A) > 0

    templates bool [2, T, afferents]; jitter in steps, noise in spikes per step. Exact but for
    spikes that fall together in a step, and for a pattern's spikes being of a known number.
    """
    steps, afferents = templates.shape[1:]
    rates = smoothed(templates, jitter) + max(noise, LEAST_NOISE)
    weights = np.log(rates[1] / rates[0])
    bias = (rates[1] - rates[0]).sum()
    memory: np.ndarray | None = None  # [2, N]: the sum so far, steps since the start

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal memory
        if memory is None or memory.shape[1] != len(obs):
            total, t = np.zeros((2, len(obs)))
        else:
            total, t = np.where(begun, 0.0, memory)

        # Behind the pattern there is no evidence.
        now = np.minimum(t, steps - 1).astype(np.int64)
        evidence = (obs[:, :afferents] * weights[now]).sum(1)
        within = t < steps
        total = total + np.where(within, evidence, 0.0)
        memory = np.stack((total, t + 1))

        return (total > bias).astype(np.int64)

    return policy


def smoothed(templates: np.ndarray, jitter: float) -> np.ndarray:
    """The spikes that jitter leaves at each time on average, [2, T, afferents]."""
    time = np.arange(templates.shape[1])
    apart = time[:, None] - time
    if jitter > 0:
        kernel = np.exp(-0.5 * np.square(apart / jitter))
    else:
        kernel = np.eye(len(time))
    # In the middle of a pattern a kernel lies within it as a whole: there its sum is largest.
    return kernel / kernel.sum(1).max() @ templates


make: Callable[..., gym.Env] = partial(SingleEnv, SpikePattern)

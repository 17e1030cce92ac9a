"""GoNoGo-v0: respond after one stimulus, withhold after the other, and wait for the cue in both
cases.
"""

from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from bio_rl.vector.infos import Info
from bio_rl.vector.single import SingleEnv
from bio_rl.vector.trials import Drawn, Periods, Policy, TrialVectorEnv

ENV_IDS = {
    "bio_rl/GoNoGo-v0": {
        "entry_point": ":make",
        "vector_entry_point": ":GoNoGo",
        "max_episode_steps": 380,
    }
}

EARLY = 0.1  # cost of a response outside the response period


class GoNoGo(TrialVectorEnv):
    """Respond once after a go stimulus, not at all after a no-go stimulus, and only while the
    response cue is on.

    A trial is four periods: `wait` (nothing is shown), `stimulus` (go or no-go is on), `delay`
    (nothing), `response` (the cue is on). A response counts at a step whose observation has the
    cue; the first one ends the trial, as does the cue's last step. Rewards: 1 for a response to go,
    -1 for one to no-go, -0.1 for each response outside the response period, else 0.

    Observations, float32 [N, 3]: go, no-go, cue, 1 while on. Actions, int [N]: withhold (0),
    respond (1). The ideal observer remembers the stimulus, and responds to go at the cue's first
    step. The delayed form of Donders' 1868 task c, as for mice in Guo et al. 2014, Neuron 81.
    """

    # both exact. random: go and no-go cancel, and 12 steps a trial outside the response period cost
    # 0.05 each: -0.6 x 20
    metadata: ClassVar[dict[str, Any]] = {
        **TrialVectorEnv.metadata,
        "channels": ("go", "no-go", "response cue"),
        "actions": ("withhold", "respond"),
        "reference": {"random": -12.0, "ideal": 10.0},
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        trials: int = 20,
        p_go: float = 0.5,
        dt: float = 100.0,
        wait: float | tuple[float, float] = (200.0, 600.0),
        stimulus: float | tuple[float, float] = 300.0,
        delay: float | tuple[float, float] = 500.0,
        response: float = 500.0,
        **kwargs: Any,
    ) -> None:
        """p_go: how often the stimulus is go. dt and the periods in ms; a pair is the range of a
        uniform draw.
        """
        if not 0 <= p_go <= 1:
            raise ValueError(f"p_go is {p_go}, expected a probability from 0 to 1")
        super().__init__(num_envs, trials=trials, **kwargs)
        self.p_go = p_go
        self.periods = Periods(dt, wait=wait, stimulus=stimulus, delay=delay, response=response)
        self.metadata["dt"] = dt / 1000
        self.set_spaces(gym.spaces.Box(0.0, 1.0, (3,), np.float32), gym.spaces.Discrete(2))

    def draw(self, rng: np.random.Generator) -> Drawn:
        """go [trials]: whether the stimulus is; ends [trials, 4]: of the periods."""
        luck = rng.random(self.trials)
        ends = self.periods.draw(rng, self.trials)
        return {"go": luck < self.p_go, "ends": ends}

    def phase(self) -> np.ndarray:
        """Index of the present period, [N]."""
        ends = self.now("ends")
        return self.periods.phase(self.t, ends)

    def react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """Judge responses at the cue, and charge those outside it."""
        responds = actions == 1
        cue = self.phase() == self.periods.at("response")
        last = self.t + 1 == self.now("ends")[:, -1]
        over = cue & (responds | last)

        worth = np.where(self.now("go"), 1.0, -1.0)
        reward = responds * np.where(cue, worth, -EARLY)
        return reward, over, {}

    def sense(self) -> np.ndarray:
        """The stimulus and the cue."""
        phase = self.phase()
        go = self.now("go")
        stimulus = phase == self.periods.at("stimulus")
        cue = phase == self.periods.at("response")

        obs = np.column_stack((stimulus & go, stimulus & ~go, cue))

        return obs.astype(np.float32)

    def ideal(self) -> Policy:
        """The memory of one stimulus is all that it takes."""
        return go_remembered()


def go_remembered() -> Policy:
    """Respond at the cue where the last stimulus was go."""
    go: np.ndarray | None = None

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal go
        if go is None:
            go = np.zeros(len(obs), bool)

        stimulus = obs[:, :2].any(1)
        go = np.where(stimulus, obs[:, 0] > 0, go & ~begun)
        cue = obs[:, 2] > 0

        return (go & cue).astype(np.int64)

    return policy


make = partial(SingleEnv, GoNoGo)

"""Trials for short episodes: the row's generator is called once an episode, and the rest is done for many rows at once."""

import numpy as np

from bio_rl.envs.neuroscience._trials import Drawn, TrialVectorEnv


class UniformTrialVectorEnv(TrialVectorEnv):
    """A subclass sets `numbers`, how many uniform numbers an episode needs, before this constructor, and gives `_decode`."""

    numbers: int

    def _decode(self, u: np.ndarray) -> Drawn:
        """Everything random of n episodes, arrays [n, ...], from u [n, numbers], uniform in [0, 1)."""
        raise NotImplementedError

    def _draw(self, rng: np.random.Generator) -> Drawn:
        return {name: x[0] for name, x in self._decode(rng.random((1, self.numbers))).items()}

    def _reset_rows(self, rows: np.ndarray) -> None:
        u = np.empty((len(rows), self.numbers))
        for k, i in enumerate(rows.tolist()):
            self._rngs[i].random(out=u[k])
        for name, x in self._decode(u).items():
            self.drawn[name][rows] = x
        self.trial[rows] = self.t[rows] = 0
        self._forget(rows)

"""Trials for short episodes: the row's generator is called once an episode, and the rest is done
for many rows at once.
"""

import numpy as np

from bio_rl.vector.trials import Drawn, TrialVectorEnv


class UniformTrialVectorEnv(TrialVectorEnv):
    """A subclass sets `numbers`, how many uniform numbers an episode needs, before this
    constructor, and gives `_decode`.

    What takes many numbers of another kind, noise say, it draws in `_bulk`.
    """

    numbers: int

    def _decode(self, u: np.ndarray) -> Drawn:
        """Everything random of n episodes, arrays [n, ...], from u [n, numbers], uniform in [0, 1)."""
        raise NotImplementedError

    def _bulk(self, rng: np.random.Generator) -> Drawn:
        """What one episode needs beside the uniform numbers: the arrays that are drawn row by row."""
        return {}

    def _draw(self, rng: np.random.Generator) -> Drawn:
        return {
            name: x[0] for name, x in self._decode(rng.random((1, self.numbers))).items()
        } | self._bulk(rng)

    def _reset_rows(self, rows: np.ndarray) -> None:
        u = np.empty((len(rows), self.numbers))
        for k, i in enumerate(rows.tolist()):
            self._rngs[i].random(out=u[k])
            for name, x in self._bulk(self._rngs[i]).items():
                self.drawn[name][i] = x
        for name, x in self._decode(u).items():
            self.drawn[name][rows] = x
        self.trial[rows] = self.t[rows] = 0
        self._forget(rows)

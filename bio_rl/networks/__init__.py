"""Networks, one a file: a frozen `Config` and a `Network(config, n_in, n_out, out_gain)`, as
`contracts.NetworkConfig` and `contracts.Network` declare them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from bio_rl import discovery
from bio_rl.contracts import Network, NetworkConfig


@dataclass(frozen=True)
class Blueprint:
    """A kind of network and its configuration, before its sizes are known."""

    name: str
    """File name of the network."""
    config: NetworkConfig
    """Its `Config`."""

    @staticmethod
    def default(name: str) -> Blueprint:
        """The network of that name by default. Raises ValueError for an unknown name."""
        module = discovery.load(sys.modules[__name__], name)
        return Blueprint(name, module.Config())

    @property
    def image(self) -> bool:
        """Whether it looks at pictures [B, C, H, W]; their shape is then its `n_in`."""
        return self.config.image

    def build(self, n_in: int | tuple[int, ...], n_out: int, out_gain: float = 1.0) -> Network:
        """A network from [B, n_in] features, or pictures of the shape `n_in`, to [B, n_out].

        Raises ValueError for sizes that no network has.
        """
        sizes = (n_in,) if isinstance(n_in, int) else n_in
        if isinstance(n_in, int) is self.image or min(sizes) < 1:
            features = "a positive number of features"
            kind = "the shape (C, H, W) of pictures" if self.image else features
            raise ValueError(f"{self.name}: n_in is {n_in!r}, expected {kind}")
        if not isinstance(n_out, int) or n_out < 1:
            raise ValueError(
                f"{self.name}: n_out is {n_out!r}, expected a positive number of outputs"
            )
        module = discovery.load(sys.modules[__name__], self.name)
        return module.Network(self.config, n_in, n_out, out_gain)

    def critic(self) -> Blueprint:
        """The network that values states beside this one: `config.critic` where it names one, else
        one of the same kind.
        """
        name = self.config.critic or self.name
        if name == self.name:
            return Blueprint(self.name, self.config.of_critic())
        try:
            return Blueprint.default(name)
        except ValueError as error:
            raise ValueError(f"{self.name}.critic: {error}") from error

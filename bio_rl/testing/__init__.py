"""Public checkers: they hold your own worlds and local learners to what the rest relies on.

`check_vector_env` is for vector environments, `check_local` and `no_autograd` for local learners.
"""

from bio_rl.testing.local import check_local, no_autograd
from bio_rl.testing.vector_env import check_vector_env

__all__ = ["check_vector_env", "check_local", "no_autograd"]

# mujoco brings no stubs, and the names of its compiled modules cannot be read: they are Any.
from typing import Any

def __getattr__(name: str) -> Any: ...

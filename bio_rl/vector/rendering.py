"""Rendering without a display: which OpenGL MuJoCo is to use."""

import importlib
import importlib.util
import os
import sys
from contextlib import suppress
from functools import cache

INSTALL_HINT = (
    "MuJoCo cannot render here. On Linux without a display it needs EGL: "
    "`apt-get install libegl1 libgl1-mesa-dri` (software rendering; an NVIDIA driver brings its "
    "own EGL), or software rendering with `apt-get install libosmesa6` and MUJOCO_GL=osmesa."
)


def choose_gl() -> None:
    """Set MUJOCO_GL=egl on a Linux machine without a display, unless the user chose one.

    Must run before the first renderer is made, and may run after `import mujoco`: Gymnasium's
    renderers read MUJOCO_GL when they open a context (left unset they take GLFW, which opens none
    without a display: a FatalError). Raises RuntimeError, with what to install, where EGL is chosen
    and cannot work.
    """
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not display:
        os.environ.setdefault("MUJOCO_GL", "egl")
        # pygame's pictures need no window; without this SDL complains.
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    if os.environ.get("MUJOCO_GL") == "egl":
        _load_triton()
        _check_egl()


def can_render() -> bool:
    """True where `choose_gl` finds a way to render (a test's skip condition)."""
    try:
        choose_gl()
    except RuntimeError:
        return False
    return True


@cache
def _load_triton() -> None:
    """Load Triton, if it is there, before Mesa: both bring an LLVM, and Triton (which torch's
    optimisers import) crashes the process when it comes second (triton 3.9, Mesa's llvmpipe).
    """
    if importlib.util.find_spec("triton"):
        # A Triton that cannot be loaded at all does no harm.
        with suppress(ImportError):
            importlib.import_module("triton")


@cache
def _check_egl() -> None:
    """Load EGL and open a device display. No context is made: that would take the place of a
    renderer's current one.
    """
    try:
        import mujoco.egl  # noqa: F401  (the import itself opens the EGL device display)
    # ImportError, or AttributeError from PyOpenGL where libEGL is missing
    except Exception as error:
        raise RuntimeError(f"{INSTALL_HINT} ({type(error).__name__}: {error})") from error

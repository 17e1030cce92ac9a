"""One thread for torch: the networks of the tests are tiny, and two workers on two cores must not
wait for each other.

Without a GPU the Triton kernels run in Triton's interpreter, which has to be asked for before
anything imports triton.
"""

import os
import signal

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
torch.set_num_threads(1)
signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # under nohup or in the background it would be ignored, here
signal.signal(
    signal.SIGHUP, signal.SIG_DFL
)  # and in every process that a test starts and sends a signal

import tests.worlds  # noqa: E402, F401  (registers the toy worlds: an id with a module is used only once that is imported)

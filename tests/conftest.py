"""Threads, signals and toy worlds of every test.

torch has one thread: the networks of the tests are tiny, and two workers on two cores must not wait
for each other. Without a GPU the Triton kernels run in Triton's interpreter, which has to be asked
for before anything imports triton.
"""

import os
import signal

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
torch.set_num_threads(1)
# Under nohup or in the background both would be ignored, here and in every process that a test
# starts and sends a signal.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Registers the toy worlds: an id with a module is used only once that is imported.
import tests.worlds  # noqa: E402, F401

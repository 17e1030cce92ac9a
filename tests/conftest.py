"""One thread for torch: the networks of the tests are tiny, and two workers on two cores must not wait for each other."""

import torch

torch.set_num_threads(1)

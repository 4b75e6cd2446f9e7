"""One thread: the tensors of tests are too small to share, and times stay comparable."""

import torch

torch.set_num_threads(1)

"""Weights that others trained: files of torch and safetensors, whatever their tensors are wrapped and called in.

reading    tables of tensors from a file, of which no code is run
wrapped    what wrappers of torch put into names, taken out
places     where in the tables the tensors of a network lie
resnets    the ResNet that a file fits
misfit     why a file does not fit a network
load       what fits, loaded; and what was done, said
"""

from metatc2.models.foreign_weights.load import ForeignWeights, load_foreign
from metatc2.models.foreign_weights.reading import TORCH_FILES, read_torch_file, read_weights
from metatc2.models.foreign_weights.resnets import Fitting, fitting

__all__ = [
    "TORCH_FILES",
    "Fitting",
    "ForeignWeights",
    "fitting",
    "load_foreign",
    "read_torch_file",
    "read_weights",
]

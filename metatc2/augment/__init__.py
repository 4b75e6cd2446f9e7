"""Batched augmentation on tensors: every image gets parameters of its own, and every parameter is returned.

`Views` is a recipe: it draws descriptors from a generator and makes the views that they describe. `DESCRIPTOR` names
the columns of a descriptor. `metatc2.augment.families` makes recipes from four strengths, one for each of `FAMILIES`.
"""

from metatc2.augment.descriptor import DESCRIPTOR, DESCRIPTOR_SIZE
from metatc2.augment.families import FAMILIES
from metatc2.augment.recipes import RECIPES, build_recipe, register_recipe
from metatc2.augment.views import Views

__all__ = ["DESCRIPTOR", "DESCRIPTOR_SIZE", "FAMILIES", "RECIPES", "Views", "build_recipe", "register_recipe"]

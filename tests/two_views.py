"""Objectives that compare two views of a sample."""

from metatc2.objectives import OBJECTIVES

TWO_VIEWS = tuple(name for name, kind in OBJECTIVES.items() if kind.two_views)

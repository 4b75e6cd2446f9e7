"""What can be measured of an encoder while it is trained: one number each, one file each."""

from metatc2.experiment.measures.registry import MEASURES, Seen, register_measure

__all__ = ["MEASURES", "Seen", "register_measure"]

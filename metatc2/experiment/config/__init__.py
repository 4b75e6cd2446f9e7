"""The configuration of a run: read from task files, overridden by ``--set key=value``, written beside the results.

A `Config` is made of one model a section. A section of which there are several kinds is a tagged union: the calibrator, the
learner, the objective that is named has its own keys and defaults. Every key has a type, a range, a default and one line of
documentation in `all_keys`; whatever is wrong is an `InputError` that names the file, the key, what was found and what is
expected.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""learn2learn: found where it is installed; a sentence that says how to install it where it is not."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from types import ModuleType

from metatc2.errors import MissingPackage

# The released source does not build on Python 3.11 and later by a plain `pip install`; pip reads this option only from a file.
REQUIREMENT = 'learn2learn==0.2.0 --config-settings="--build-option=build_ext"'


def require_learn2learn() -> ModuleType:
    """The package `learn2learn`, without the notice that its dependency gym prints at import.

    Raises:
        MissingPackage: if it is not installed; the message says how to.

    >>> require_learn2learn().__name__
    'learn2learn'
    """
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            return importlib.import_module("learn2learn")
    except ImportError as error:
        raise MissingPackage(
            f"learn2learn is not installed ({error}); put the line  {REQUIREMENT}  into a file requirements.txt and run: "
            "pip install -r requirements.txt"
        ) from error

"""The one base class of errors, and the lazy import of optional packages.

A message is one line: what is wrong, where, and what to do next. The command line prints it after ``error:`` and exits 1;
an error with several problems has a list ``lines``, and each is printed so.
"""

import importlib
from types import ModuleType


class CaptionlakeError(Exception):
    """Anything a user can mend: a wrong input, a missing package, a lake in use, a full disk."""


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional package, or name the pip command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or module
        raise CaptionlakeError(
            f"{missing} is not installed and this step needs it: run  pip install 'captionlake[{extra}]'"
        ) from error

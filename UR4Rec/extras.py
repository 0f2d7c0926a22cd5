"""Packages that only some commands need, each in an extra of pyproject.toml."""

from __future__ import annotations

import importlib
from types import ModuleType

from genrec.errors import ArtifactError

EXTRAS = {"openai": "llm", "python_calamine": "excel", "PIL.Image": "images"}  # module: extra


def import_extra(module: str, purpose: str) -> ModuleType:
    """The module; where it is not installed, one line that says for what it is needed and how to get it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = f"{purpose} needs {error.name}, which is not installed"
        raise ArtifactError(f"{missing}; pip install 'genrec[{EXTRAS[module]}]'") from None

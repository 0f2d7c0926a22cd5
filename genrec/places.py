"""Where things lie: presets, the checkout where there is one, and the directory that relative paths start from."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
HOME = "GENREC_HOME"  # environment: where relative paths of presets start; a checkout's scripts set it to the checkout

RUN_SAID = "GENREC_RUN_SAID"  # environment: the run that the caller's first line has named already


def presets_dir() -> Path:
    """The presets: `config/` of a checkout, or what the wheel carries of it."""
    checkout = PACKAGE.parent / "config"
    return checkout if (checkout / "0.5b.yaml").exists() else PACKAGE / "presets"


def checkout() -> Path | None:
    """The checkout whose scripts were called, None when called as the command `genrec`."""
    home = os.environ.get(HOME)
    return Path(home) if home else None


def from_home(path: Path) -> Path:
    """A relative path of a preset: below the checkout for its own scripts, else below the working directory."""
    home = checkout()
    return path if home is None or path.is_absolute() or home == Path.cwd() else home / path

"""Models of the hub by name: sent and fetched as data files alone, never code, never pickles."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from genrec.artifacts import MANIFEST
from genrec.errors import ArtifactError, first_line

FILES = ["*.json", "*.safetensors", "*.npz", "*.parquet", "*.md", "*.txt", "*.jinja", "*.npy", "*.onnx", "*.onnx.data"]


def is_hub_name(name: str) -> bool:
    return re.fullmatch(r"[\w.\-]+/[\w.\-]+", name) is not None


def fetch_model(name: str) -> Path:
    """OWNER/NAME -> a directory with its files."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=FILES))
    except Exception as error:  # httpx, OSError and the hub's own families
        raise ArtifactError(
            f"'{name}' is neither a directory here nor a model that can be fetched from the hub ({first_line(error)}); "
            "name a run or a model directory, or set HF_ENDPOINT or HF_TOKEN"
        ) from None


def copy_files(directory: Path, target: Path) -> None:
    """What is fetched of a model, to be sent; the run's own manifest stays with the run."""
    for path in sorted(path for pattern in FILES for path in directory.glob(pattern)):
        if path.is_file() and path.name != MANIFEST and not path.name.startswith("."):
            shutil.copy2(path, target / path.name)

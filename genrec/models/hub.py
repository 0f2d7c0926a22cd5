"""Models of the hub by name: fetched as data files alone, never code, never pickles."""

from __future__ import annotations

import re
from pathlib import Path

from genrec.errors import ArtifactError, first_line

FILES = ["*.json", "*.safetensors", "*.npz", "*.parquet", "*.md", "*.txt", "*.jinja"]


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

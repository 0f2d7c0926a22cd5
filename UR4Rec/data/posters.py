"""Posters on disk: a folder of images, each named by its item's original id."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genrec.errors import ArtifactError, first_line
from UR4Rec.extras import import_extra


def posters_by_id(directory: Path) -> dict[int, Path]:
    """{original id: file} of a folder of posters named by it."""
    files = sorted(path for path in directory.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
    return {int(path.stem): path for path in files if path.stem.isascii() and path.stem.isdigit()}


def find_posters(item_metadata: Mapping[int, dict[str, Any]], image_dir: Path | str | None) -> dict[int, Path]:
    """{item id: file} of the folder's posters, which are named by original id."""
    if image_dir is None or not Path(image_dir).is_dir():
        raise ArtifactError(f"no folder of posters at {image_dir}; give image_dir, or load_images=False")
    files = posters_by_id(Path(image_dir))
    return {i: files[item["original_id"]] for i, item in item_metadata.items() if item["original_id"] in files}


def open_image(path: Path):
    """A PIL image, RGB."""
    images = import_extra("PIL.Image", f"{path}, a poster,")
    try:
        with images.open(path) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, images.DecompressionBombError) as error:
        raise ArtifactError(f"{path} is no image that can be read: {first_line(error)}") from None

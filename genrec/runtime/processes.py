"""Several processes of one launch (torchrun, accelerate launch) that share out work and meet again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch.distributed

from genrec.launch import rank, world_size

Piece = TypeVar("Piece")


@contextmanager
def process_group() -> Iterator[None]:
    """Within: the processes of this launch can talk, over CPU memory; where their launcher saw to it, as it did."""
    if torch.distributed.is_initialized():
        yield
        return
    torch.distributed.init_process_group("gloo")
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def gather_first(pieces: list[Piece]) -> list[Piece]:
    """What each process made of the pieces that were dealt out in turn: all, in order, on rank 0; [] elsewhere."""
    shares: list[list[Piece]] | None = [[] for _ in range(world_size())] if rank() == 0 else None
    torch.distributed.gather_object(pieces, shares)
    return interleave(shares) if shares else []


def gather_all(pieces: list[Piece]) -> list[Piece]:
    """As `gather_first`, on every process."""
    shares: list[list[Piece]] = [[] for _ in range(world_size())]
    torch.distributed.all_gather_object(shares, pieces)
    return interleave(shares)


def interleave(shares: list[list[Piece]]) -> list[Piece]:
    return [shares[piece % len(shares)][piece // len(shares)] for piece in range(sum(map(len, shares)))]

"""Facts of this process: its place among those of a launch (torchrun), its threads, and its lines on the screen."""

from __future__ import annotations

import os

from genrec.lines import FOUR_BIT_NOTES, write_line


def rank() -> int:
    """Number of this process in a distributed launch, 0 when alone."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Number of this process on its own machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    """How many processes a distributed launch runs, 1 when alone."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def note(stage: str, text: str) -> None:
    """One line a phase, on rank 0 only."""
    if rank() == 0:
        write_line(f"{stage}: {text}")


def hold_back_notes() -> None:
    """Keep what libraries say of 4-bit weights from those who did not ask for them."""
    FOUR_BIT_NOTES.logger.addFilter(FOUR_BIT_NOTES)


SPINS = "3000"  # rounds that a thread of GNU OpenMP waits awake before it sleeps; measured in docs/results


def set_waiting_policy() -> None:
    """Let waiting threads sleep soon, before torch is imported; what the user has set is left.

    By default they spin for long, and on a busy machine two of them take each other's cores: training was 5 to 10 times
    slower. Sleeping at once (OMP_WAIT_POLICY=PASSIVE) costs small models three quarters more on an idle machine.
    """
    if not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
        os.environ["GOMP_SPINCOUNT"] = SPINS

"""Work that is dealt out in turn comes back in its order."""

import multiprocessing
import os
import socket

import pytest

from genrec.runtime.processes import gather_all, gather_first, interleave, process_group


@pytest.mark.parametrize("count", range(8))
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_pieces_dealt_out_in_turn_are_interleaved_to_their_order(count, processes):
    pieces = list(range(count))
    assert interleave([pieces[rank::processes] for rank in range(processes)]) == pieces


def work(rank, port, answers):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with process_group():
        mine = list("abcde")[rank::2]
        answers.put((rank, gather_first(mine), gather_all(mine)))


def test_two_processes_meet():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    workers = [context.Process(target=work, args=(rank, port, answers)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    gathered = {rank: rest for rank, *rest in (answers.get(timeout=60) for _ in workers)}
    for worker in workers:
        worker.join()
    assert gathered == {0: [list("abcde"), list("abcde")], 1: [[], list("abcde")]}

"""Many questions to one endpoint: several at a time, at a set pace, again where that may help; each answer is kept."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice

from genrec.errors import ArtifactError
from UR4Rec.models.llm_backends import Backend, Refused, Retry
from UR4Rec.models.llm_cache import Answer, AnswerCache, Question

LONGEST_WAIT = 60.0  # seconds between two tries
GIVE_UP_AFTER = 20  # questions in a row without an answer: nobody is there


@dataclass(frozen=True)
class Patience:
    """How often and how fast an endpoint is asked."""

    concurrency: int
    max_retries: int
    backoff: float  # seconds before the second try; doubled each time
    requests_per_minute: float  # 0: as many as concurrency allows


def ask_all(questions: list[Question], backend: Backend, cache: AnswerCache, patience: Patience) -> dict[Question, str]:
    """Each question once; answers go into the cache, those under way at a stop too; -> why the others did not come."""
    from tqdm import tqdm

    questions = list(dict.fromkeys(questions))
    failures: dict[Question, str] = {}
    in_a_row = 0
    with (
        ThreadPoolExecutor(patience.concurrency) as pool,
        Pace(patience.requests_per_minute) as pace,  # left first: threads stop waiting before the pool waits for them
        tqdm(total=len(questions), unit="text", desc="llm", disable=None) as bar,
    ):

        def work(question: Question) -> None:
            cache.add(question, ask(question, backend, patience, pace))

        for question, future in completed(pool, questions, work, patience.concurrency):
            try:
                future.result()
                in_a_row = 0
            except (Retry, Refused) as error:
                failures[question] = str(error)
                in_a_row += 1
            if in_a_row == GIVE_UP_AFTER:
                raise ArtifactError(f"{in_a_row} texts in a row could not be had, the last: {failures[question]}")
            bar.update()
    return failures


def completed(
    pool: ThreadPoolExecutor, questions: list[Question], work: Callable[[Question], None], at_once: int
) -> Iterator[tuple[Question, Future]]:
    """Questions as they end; no more are handed out than are being worked on, so that a stop is a stop."""
    rest, running = iter(questions), {}
    while True:
        for question in islice(rest, at_once - len(running)):
            running[pool.submit(work, question)] = question
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future


def ask(question: Question, backend: Backend, patience: Patience, pace: Pace) -> Answer:
    """One answer, tried again with waits of backoff * 2^n seconds, varied by half, or as long as the endpoint says."""
    for attempt in range(patience.max_retries + 1):
        pace.wait()
        try:
            return backend(question)
        except Retry as error:
            if attempt == patience.max_retries:
                raise
            delay = patience.backoff * 2**attempt * random.uniform(0.5, 1.5)
            pace.sleep(min(max(delay, error.after), LONGEST_WAIT))
    raise AssertionError("the last try returns or raises")


class Pace:
    """At most so many requests a minute, evenly spaced, over all threads; its end ends every wait."""

    def __init__(self, requests_per_minute: float):
        self.gap = 60 / requests_per_minute if requests_per_minute else 0.0
        self.lock = threading.Lock()
        self.next = 0.0
        self.stopped = threading.Event()

    def __enter__(self) -> Pace:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stopped.set()

    def wait(self) -> None:
        with self.lock:
            now = time.monotonic()
            at = max(self.next, now)
            self.next = at + self.gap
        self.sleep(at - now)

    def sleep(self, seconds: float) -> None:
        if self.stopped.wait(seconds):
            raise Refused("the run was stopped")

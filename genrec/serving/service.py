"""What the routes share: the catalogue, the queue, the histories; and how a question becomes a task and an answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from fastapi import Request

from genrec.errors import ArtifactError, suggest
from genrec.experiments.assignment import Assignment
from genrec.serving.answers import Answer, Asker, CatalogStatus, Draw, ExplainQuestion, ExplainTask, ListTask, Question
from genrec.serving.batching import Batcher, Closed, QueueFull, TooLate
from genrec.serving.catalogue import NONE, Catalogue, Version, find_language_model
from genrec.serving.events import EventStore, Past
from genrec.serving.experiment import Conclusion, ServedExperiment
from genrec.serving.metrics import Watch
from genrec.serving.refusals import refuse
from genrec.serving.settings import ServeOptions
from genrec.serving.version_file import WorkerGroup
from genrec.serving.words import UnknownWord

CLIENT_GONE = 499  # in the log and the figures; nobody reads it

log = logging.getLogger("genrec.serving")


@dataclass
class Service:
    """One server's state. Its methods run in the event loop; what waits on a disk or searches runs in threads."""

    settings: ServeOptions
    catalogue: Catalogue
    store: EventStore
    watch: Watch
    batcher: Batcher
    experiment: ServedExperiment | None = None
    group: WorkerGroup | None = None  # the other workers behind the same port
    elsewhere: str = ""  # how the catalogue is reloaded, where that is not this server's to do
    lost: str = ""  # why the last answer that could not be logged was not
    writing: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "events"))
    reading: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "histories"))

    @property
    def version(self) -> Version:
        return self.catalogue.current

    # Questions

    async def read_lists(self, questions: Sequence[Question], draws: Sequence[Draw | None]) -> list[ListTask]:
        """Every question against one version."""
        version = self.version
        tasks = [await self.read_list(version, question) for question in questions]
        return [
            replace(task, draw=draw if len(task.history) else None) for task, draw in zip(tasks, draws, strict=True)
        ]

    async def read_list(self, version: Version, question: Question) -> ListTask:
        model, history, user = await self.read_asker(version, question)
        most = min(self.settings.max_k, version.listable)
        if question.k > most:
            raise refuse(422, f"k is {question.k:,}, a list has at most {most:,} items here")
        without = [await self.read_words(version, question.deny)]
        if question.exclude_seen:
            without.append(history)
        closed = NONE
        if question.allow is not None:
            allowed = await self.read_words(version, question.allow)
            closed = np.setdiff1d(np.arange(len(version.words), dtype=np.int32), allowed)
        return ListTask(version, model, history, user, question.k, np.concatenate(without), closed)

    async def read_explanation(self, question: ExplainQuestion) -> ExplainTask:
        version = self.version
        model, history, _ = await self.read_asker(version, question)
        if find_language_model(version.models[model]) is None:
            raise refuse(422, f"'{model}' has no semantic IDs to explain here; ask a language model (sft, rl)")
        if not len(history):
            raise refuse(422, "there is no history to explain by; give some items")
        return ExplainTask(version, model, history, int((await self.read_words(version, [question.item]))[0]))

    async def read_asker(self, version: Version, asker: Asker) -> tuple[str, np.ndarray, int]:
        """The model, the history as item numbers, and the user's number in the run."""
        model = next(iter(version.models)) if asker.model is None else asker.model
        if model not in version.models:
            there = ", ".join(version.models)
            raise refuse(404, f"no model {model!r}{suggest(model, version.models)}; there are: {there}")
        if asker.history is not None:
            return model, await self.read_words(version, asker.history), -1
        assert asker.user is not None, "the schema has one of the two"
        return model, *self.join_past(
            version, asker.user, await self.in_thread(self.reading, self.store.past, asker.user)
        )

    def join_past(self, version: Version, user: str, past: Past) -> tuple[np.ndarray, int]:
        """What the run has of a user, then the events since; items that the version does not have are passed over."""
        known = user in version.user_number
        if not known and not past.items and not past.deleted:
            raise refuse(422, f"nothing is known of user {user!r}; send POST /events first, or give a history")
        number = version.words.number
        later = np.array([number[item] for item in past.items if item in number], dtype=np.int32)
        if not known or past.deleted:
            return later, -1
        return np.concatenate([version.past(user), later]), version.user_number[user]

    async def read_words(self, version: Version, words: Sequence[str]) -> np.ndarray:
        try:
            return version.words.read(words)
        except UnknownWord as error:
            sentence = await asyncio.to_thread(version.words.describe_unknown, error.args[0])
            raise refuse(422, sentence) from None

    async def search(self, version: Version, query: str, limit: int) -> list[int]:
        return await asyncio.to_thread(version.words.search, query, limit)

    # Answers

    async def answer(self, tasks: Sequence[ListTask | ExplainTask], request: Request, seconds: float) -> list[Any]:
        """Their results, as long as the client waits and the deadline allows."""
        try:
            tickets = self.batcher.submit(tasks, seconds)
        except (QueueFull, Closed) as error:
            self.watch.refused.labels("full" if isinstance(error, QueueFull) else "closing").inc()
            wait = error.seconds if isinstance(error, QueueFull) else 1
            raise refuse(503, str(error), {"Retry-After": str(wait)}) from None
        results = asyncio.gather(*(ticket.future for ticket in tickets))
        results.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # of those who left too
        gone = asyncio.ensure_future(wait_for_leaving(request))
        try:
            done, _ = await asyncio.wait({results, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if results in done:
                return results.result()
            reason = "gone" if gone in done else "late"
        except TooLate:
            reason = "late"
        finally:
            gone.cancel()
            self.batcher.forget(tickets)
        self.watch.refused.labels(reason).inc()
        if reason == "gone":
            raise refuse(CLIENT_GONE, "the client left")
        raise refuse(504, f"there was no answer within {seconds:g} s")

    def count(self, answers: Sequence[Answer]) -> None:
        for each in answers:
            self.watch.lists.labels(each.model, str(each.exact).lower(), str(each.cold).lower()).inc()

    # The experiment

    def assign(self, question: Question) -> Assignment | None:
        return None if self.experiment is None else self.experiment.assign(question)

    def choose_draw(self, assignment: Assignment | None) -> Draw | None:
        """How to draw the list of a request by chance; None: the best is given."""
        return None if self.experiment is None or assignment is None else self.experiment.choose_draw(assignment)

    def conclude(self, question: Question, assignment: Assignment | None, answers: Sequence[Answer]) -> Answer:
        """The answer to give, of one list an arm; in the log where it is part of an experiment."""
        if assignment is None:
            return answers[0]
        assert self.experiment is not None and question.user is not None, "only these are assigned"
        given = self.experiment.conclude(assignment, answers, question.k)
        self.record(self.experiment, question.user, given)
        return given.answer

    def record(self, experiment: ServedExperiment, user: str, given: Conclusion) -> None:
        """An answer that cannot be logged is given all the same: counted, and noted once a reason."""
        try:
            experiment.record(user, given)
        except (ArtifactError, ValueError) as error:
            self.watch.slates.labels("lost").inc()
            if str(error) != self.lost:
                self.lost = str(error)
                log.error("an answer is not logged, nor are those after it while this lasts: %s", error)
        else:
            self.watch.slates.labels("logged").inc()

    def close_log(self) -> None:
        if self.experiment is None:
            return
        try:
            self.experiment.log.close()
        except ArtifactError as error:
            log.error("answers of the experiment are not logged to the end: %s", error)

    # Workers

    async def lead(self) -> None:
        """The version of this worker is now that of all; until they have it, or have said why not."""
        if self.group is not None:
            await asyncio.to_thread(self.group.lead, self.version)
            await self.report()
            await self.group.wait_for_all()

    def require_own_reloads(self) -> None:
        if self.elsewhere:
            raise refuse(409, self.elsewhere)

    async def report(self) -> None:
        if self.group is not None:
            await asyncio.to_thread(self.group.report, self.catalogue)

    async def status(self) -> CatalogStatus:
        """The catalogue of this process, and where there are several what each serves."""
        status = self.catalogue.status()
        if self.group is None:
            return CatalogStatus.model_validate(status)
        workers = await asyncio.to_thread(self.group.reports)
        agreed = len({each["version"] for each in workers}) == 1
        return CatalogStatus.model_validate(status | {"workers": workers, "agreed": agreed})

    # Users

    async def keep(self, user: str, items: Sequence[str]) -> int:
        """Append to a history; how many events it has. When this returns they are on the disk."""
        kept = await self.in_thread(self.writing, self.store.append, user, items)
        self.watch.events.inc(len(items))
        return kept

    async def forget_user(self, user: str) -> int:
        return await self.in_thread(self.writing, self.store.delete, user)

    async def in_thread(self, pool: ThreadPoolExecutor, function: Any, *arguments: Any) -> Any:
        """Beside the event loop; reads do not wait for the flush of a write."""
        return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)

    def close(self) -> None:
        """Answer what waits, then let go of threads and files."""
        self.batcher.stop()
        for pool in (self.writing, self.reading):
            pool.shutdown()
        self.store.close()
        self.close_log()


async def wait_for_leaving(request: Request) -> None:
    """Until the client is gone. The body was read, so nothing else comes."""
    while (await request.receive())["type"] != "http.disconnect":
        continue

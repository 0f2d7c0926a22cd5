"""Answers of language models on disk: JSON lines, only ever appended to, keyed by a hash of the whole question.

A line carries the hash of its answer too, so one that was changed by hand is no answer. Lines of before answers named
their endpoint are counted and left out: they may be another model's of the same name.

Killed at any byte, it loses at most the answer being written: a torn last line is cut off when the file is opened.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Question:
    """All that an answer depends on."""

    system: str
    prompt: str
    model: str
    temperature: float
    max_tokens: int
    endpoint: str  # who is asked: a URL, or a local model by its files

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True)
class Answer:
    text: str
    tokens_in: int
    tokens_out: int


class AnswerCache:
    """`with AnswerCache(path) as cache`: get and add, from any thread of the one process that writes the directory."""

    def __init__(self, path: Path):
        self.path = path
        self.lock = threading.Lock()

    def __enter__(self) -> AnswerCache:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = self.path.open("a+b")
        self.read()
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()

    def read(self) -> None:
        self.file.seek(0)
        content = self.file.read()
        self.answers, self.dropped, self.nameless = parse_answers(content)
        whole = content.rfind(b"\n") + 1  # what follows the last line end was torn
        if whole < len(content):
            self.file.truncate(whole)

    def get(self, question: Question) -> Answer | None:
        return self.answers.get(question.key)

    def add(self, question: Question, answer: Answer) -> None:
        origin = {"key": question.key, "model": question.model, "endpoint": question.endpoint}
        line = json.dumps({**origin, **asdict(answer), "sha256": digest(question.key, answer)}, ensure_ascii=False)
        with self.lock:
            self.answers[question.key] = answer
            self.file.write(line.encode() + b"\n")
            self.file.flush()
            os.fsync(self.file.fileno())


def read_answers(path: Path) -> dict[str, Answer]:
    """What a cache holds, by question's key; the file is left as it is."""
    return parse_answers(path.read_bytes())[0] if path.exists() else {}


def parse_answers(content: bytes) -> tuple[dict[str, Answer], int, int]:
    """The answers of all whole lines, how many of these are none or were changed, and how many name no endpoint."""
    answers, dropped, nameless = {}, 0, 0
    for line in content[: content.rfind(b"\n") + 1].split(b"\n")[:-1]:
        record = parse_answer(line)
        if record is None:
            dropped += 1
        elif "endpoint" not in record:
            nameless += 1
        else:
            answers[record["key"]] = answer_of(record)
    return answers, dropped, nameless


def parse_answer(line: bytes) -> dict[str, Any] | None:
    """A line's record, or None where it is none of ours."""
    try:
        record = json.loads(line)
        kinds = [type(record[name]) for name in ("key", "text", "tokens_in", "tokens_out")]
        if kinds != [str, str, int, int]:
            return None
        changed = "endpoint" in record and record["sha256"] != digest(record["key"], answer_of(record))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return None if changed else record


def answer_of(record: dict[str, Any]) -> Answer:
    return Answer(record["text"], record["tokens_in"], record["tokens_out"])


def digest(key: str, answer: Answer) -> str:
    return hashlib.sha256(json.dumps([key, *asdict(answer).values()]).encode()).hexdigest()[:16]

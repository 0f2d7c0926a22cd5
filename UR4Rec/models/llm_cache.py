"""Answers of language models on disk: JSON lines, only ever appended to, keyed by a hash of the whole question.

Killed at any byte, it loses at most the answer being written: a torn last line is cut off when the file is opened.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Question:
    """All that an answer depends on."""

    system: str
    prompt: str
    model: str
    temperature: float
    max_tokens: int

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
        self.answers, self.dropped = parse_answers(content)
        whole = content.rfind(b"\n") + 1  # what follows the last line end was torn
        if whole < len(content):
            self.file.truncate(whole)

    def get(self, question: Question) -> Answer | None:
        return self.answers.get(question.key)

    def add(self, question: Question, answer: Answer) -> None:
        line = json.dumps({"key": question.key, "model": question.model, **asdict(answer)}, ensure_ascii=False)
        with self.lock:
            self.answers[question.key] = answer
            self.file.write(line.encode() + b"\n")
            self.file.flush()
            os.fsync(self.file.fileno())


def read_answers(path: Path) -> dict[str, Answer]:
    """What a cache holds, by question's key; the file is left as it is."""
    return parse_answers(path.read_bytes())[0] if path.exists() else {}


def parse_answers(content: bytes) -> tuple[dict[str, Answer], int]:
    """The answers of all whole lines, and how many of these are none."""
    answers, dropped = {}, 0
    for line in content[: content.rfind(b"\n") + 1].split(b"\n")[:-1]:
        try:
            record = json.loads(line)
            answers[record["key"]] = Answer(record["text"], record["tokens_in"], record["tokens_out"])
        except (ValueError, KeyError, TypeError):
            dropped += 1
    return answers, dropped

"""The questions on a terminal: what is no answer is asked again, and what is finished is not asked about."""

import os
import pty
import select
import subprocess
import sys
import time

import pytest

from genrec.config import METHOD_NAMES
from genrec.errors import ConfigError
from genrec.stages import dialogue
from genrec.stages.dialogue import METHODS, ask, ask_for_method, choose_action, choose_method, explain_stage
from tests import ROOT, parse_flags

CTRL_D = "\x04"


@pytest.mark.parametrize(
    ("answer", "action"),
    [("", "run"), ("r", "run"), ("Run", "run"), ("s", "skip"), ("SKIP", "skip"), ("q", "quit"), ("quit", "quit")],
)
def test_a_letter_or_its_word_is_an_answer(answer, action):
    assert choose_action(answer) == action


@pytest.mark.parametrize("answer", ["x", "y", "no", "runn", "sk", "7"])
def test_all_else_is_no_answer(answer):
    with pytest.raises(dialogue.UnknownAnswer, match=f"'{answer}' is no answer: r runs it, s .* q .* \\?"):
        choose_action(answer)


@pytest.mark.parametrize(
    ("answer", "method"),
    [
        ("RQ-Kmeans+", "rqkmeans_plus"),
        ("rqkmeans+", "rqkmeans_plus"),
        ("RQ KMEANS PLUS", "rqkmeans_plus"),
        ("rqkmeans-plus", "rqkmeans_plus"),
        ("rq-vae", "rqvae"),
        ("RQVAE", "rqvae"),
        ("RQ-Kmeans", "rqkmeans"),
        ("Constrained RQ-Kmeans", "rqkmeans_constrained"),
        ("rq_kmeans_constrained", "rqkmeans_constrained"),
        ("1", "rqkmeans_plus"),
        ("4", "rqkmeans"),
        ("", "rqvae"),
    ],
)
def test_a_method_is_known_in_any_case_and_with_any_signs_and_by_its_number(answer, method):
    assert choose_method(answer, configured="rqvae") == method


@pytest.mark.parametrize(("answer", "near"), [("rqkmens", "rqkmeans"), ("rq-vea", "rqvae"), ("9", ""), ("0", "")])
def test_a_mistyped_method_names_the_nearest_and_all(answer, near):
    with pytest.raises(dialogue.UnknownAnswer, match=f"no method '{answer}'.*{near}.*there are: rqkmeans_plus, "):
        choose_method(answer, "rqvae")


def test_the_methods_are_those_of_the_configuration():
    assert set(METHODS) == set(METHOD_NAMES)


def test_ctrl_d_must_come_three_times_in_a_row(monkeypatch):
    answers = iter([EOFError, EOFError, "x", EOFError, EOFError, "s", EOFError, EOFError, EOFError])

    def typed(question):
        answer = next(answers)
        if answer is EOFError:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", typed)
    assert ask("?", choose_action, "") == "skip"
    with pytest.raises(ConfigError, match="no answer, 3 times Ctrl-D; .*--yes"):
        ask("?", choose_action, "")


def test_the_configured_method_needs_no_flag(monkeypatch):
    config = parse_flags(["--sids.method", "rqvae"]).config
    monkeypatch.setattr("builtins.input", lambda question: "RQ-VAE")
    assert ask_for_method(config) == []
    monkeypatch.setattr("builtins.input", lambda question: "RQ-Kmeans+")
    assert ask_for_method(config) == ["--sids.method", "rqkmeans_plus"]


def test_an_explanation_says_what_the_stage_does_and_where(tmp_path):
    text = explain_stage("sft", parse_flags(["--run.dir", str(tmp_path)]).config)
    assert "answers in semantic IDs" in text and f"{tmp_path}/sft" in text and "genrec sft" in text


class Terminal:
    """`genrec run` on a pseudo-terminal: type, and wait for what the screen shows."""

    def __init__(self, directory, *flags):
        self.master, slave = pty.openpty()
        place = ["--run.dir", str(directory / "run"), "--data.raw_dir", str(directory / "raw")]
        words = [sys.executable, "-m", "genrec", "run", "--config", "tiny", *place, *flags]
        self.process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, cwd=ROOT, close_fds=True)
        os.close(slave)
        self.screen = ""

    def expect(self, text, seconds=120):
        """Read until the text is there; what stands before it is gone through."""
        end = time.monotonic() + seconds
        while text not in self.screen:
            assert time.monotonic() < end, f"no '{text}' in: {self.screen}"
            if not select.select([self.master], [], [], 0.2)[0]:
                continue
            try:
                self.screen += os.read(self.master, 4096).decode()
            except OSError:  # the other end is closed
                raise AssertionError(f"ended without '{text}': {self.screen}") from None
        before, _, self.screen = self.screen.partition(text)
        return before

    def type(self, text):
        os.write(self.master, text.encode())

    def end(self):
        """(exit code, the rest of the screen)"""
        try:
            while part := os.read(self.master, 4096):
                self.screen += part.decode()
        except OSError:
            pass
        os.close(self.master)
        return self.process.wait(timeout=60), self.screen


def test_a_session_on_a_terminal(tmp_path):
    first = Terminal(tmp_path, "--to", "sids")
    question = "data: [r]un, [s]kip, [q]uit or ? [r] "
    for typed, shown in (("x\n", "'x' is no answer"), (CTRL_D, "\r\n"), ("?\n", "raw reviews -> catalogue")):
        first.expect(question)
        first.type(typed)
        first.expect(shown)
    first.expect(question)
    first.type("r\n")
    first.expect("data: done in")
    first.expect("embeddings: [r]un")
    first.type("s\n")
    first.expect("embeddings: skipped")
    first.expect("sids: [r]un")
    first.type("\n")
    first.expect("  method, by name or number, or ? [rqkmeans] ")
    first.type("rqkmens\n")
    first.expect("no method 'rqkmens'; did you mean 'rqkmeans'")
    first.type("?\n")
    first.expect("1  rqkmeans_plus")
    first.type("RQ-Kmeans+\n")
    first.expect("error: ")
    code, rest = first.end()
    assert code == 1 and "embed" in rest  # which was skipped, and is not there

    second = Terminal(tmp_path, "--to", "embeddings")
    before = second.expect("embeddings: [r]un")
    assert "data: up to date" in before and "data: [r]un" not in before
    second.type("q\n")
    code, rest = second.end()
    assert code == 0 and "embeddings: stopped before it; the same command goes on" in rest

    third = Terminal(tmp_path, "--from", "embeddings", "--to", "embeddings")
    for _ in range(3):
        third.expect("embeddings: [r]un, [s]kip, [q]uit or ? [r] ")
        third.type(CTRL_D)
    code, rest = third.end()
    assert code == 1 and [line for line in rest.splitlines() if line.strip()] == [
        "error: no answer, 3 times Ctrl-D; the same command asks again, with --yes it runs all stages"
    ]

"""The questions of `genrec run` on a terminal: which stages are run, and by which method semantic IDs are made.

    sids: [r]un, [s]kip, [q]uit or ? [r] r
      method, by name or number, or ? [rqkmeans_plus] RQ-VAE

What is no answer, Ctrl-D among it, is asked again. A finished stage is not asked about.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import TypeVar

from genrec.config import Config
from genrec.errors import ConfigError, suggest
from genrec.launch import note
from genrec.pipeline import STAGES, artifact_dir
from genrec.plugins import is_plugin

Choice = TypeVar("Choice")

ENDS = 3  # times Ctrl-D in a row after which nobody is taken to be there
RUN, SKIP, QUIT = "run", "skip", "quit"

# method -> (what it is, other names), in the order of the list that is shown
METHODS: dict[str, tuple[str, tuple[str, ...]]] = {
    "rqkmeans_plus": ("recommended: begins with rqkmeans_constrained and trains it on", ("rqkmeans+", "plus")),
    "rqkmeans_constrained": ("codes of equal size, no training", ("constrained rqkmeans", "constrained")),
    "rqvae": ("the learned quantizer of TIGER; trains longest", ()),
    "rqkmeans": ("quickest; more items share their codes", ("rqkmeans faiss", "faiss")),
    "imported": ("the index that came with the data (data.source minionerec)", ()),
}


class UnknownAnswer(ValueError):
    """What was typed is none of the answers; the message says which there are."""


def ask_about(name: str, config: Config, flags: list[str]) -> list[str] | None:
    """Further flags for a stage that is to be run, None for one to skip; to quit ends the program."""
    if is_finished(name, flags):
        return []
    question = f"{name}: [r]un, [s]kip, [q]uit or ? [r] "
    action = ask(question, choose_action, explain_stage(name, config))
    if action == QUIT:
        note(name, "stopped before it; the same command goes on from here")
        raise SystemExit(0)
    if action == SKIP:
        return None
    return ask_for_method(config) if name == "sids" else []


def ask_for_method(config: Config) -> list[str]:
    configured = config.sids.method
    question = f"  method, by name or number, or ? [{configured}] "
    method = ask(question, lambda answer: choose_method(answer, configured), explain_methods())
    return [] if method == configured else ["--sids.method", method]


def ask(question: str, choose: Callable[[str], Choice], explanation: str) -> Choice:
    """The first answer that is one; `?` explains, Ctrl-D and all else ask again."""
    ends = 0
    while True:
        try:
            answer = input(question).strip()
        except EOFError:
            print()
            ends += 1
            if ends == ENDS:
                raise ConfigError(
                    f"no answer, {ENDS} times Ctrl-D; the same command asks again, with --yes it runs all stages"
                ) from None
            continue
        ends = 0
        if answer == "?":
            print(explanation)
            continue
        try:
            return choose(answer)
        except UnknownAnswer as error:
            print(f"  {error}")


def choose_action(answer: str) -> str:
    """'' -> run; a letter or a whole word otherwise."""
    if not answer:
        return RUN
    for action in (RUN, SKIP, QUIT):
        if answer.lower() in (action, action[0]):
            return action
    raise UnknownAnswer(f"'{answer}' is no answer: r runs it, s leaves it out, q ends here, ? says more")


def choose_method(answer: str, configured: str) -> str:
    """A method by its number in the list or a name, in whatever case and with whatever signs, or module:function;
    '' -> as configured."""
    if not answer:
        return configured
    if is_plugin(answer):
        return answer
    numbers = {str(number): method for number, method in enumerate(METHODS, start=1)}
    spelled = {plain_name(name): method for method, (_, others) in METHODS.items() for name in (method, *others)}
    if method := numbers.get(answer) or spelled.get(plain_name(answer)):
        return method
    raise UnknownAnswer(
        f"no method '{answer}'{suggest(plain_name(answer), list(METHODS))}; there are: {', '.join(METHODS)}"
    )


def plain_name(name: str) -> str:
    """'RQ-Kmeans+' and 'rqkmeans_plus' -> 'rqkmeansplus'."""
    return "".join(letter for letter in name.lower().replace("+", "plus") if letter.isalnum())


def explain_stage(name: str, config: Config) -> str:
    stage = STAGES[name]
    return (
        f"  {name}: {stage.purpose}\n"
        f"  r  runs it: `genrec {stage.command}`, written to {artifact_dir(config, name)}\n"
        "  s  leaves it out; later stages do without it where they can, or say what is missing\n"
        "  q  ends here; what is finished stays, and the same command goes on"
    )


def explain_methods() -> str:
    lines = (f"  {number}  {name:<21} {METHODS[name][0]}" for number, name in enumerate(METHODS, start=1))
    return "\n".join(lines)


def is_finished(name: str, flags: list[str]) -> bool:
    """Whether the stage itself says, under these flags, that there is nothing to do."""
    words = [sys.executable, "-m", "genrec", STAGES[name].command, *flags, "--dry-run"]
    done = subprocess.run(words, capture_output=True, text=True)
    states = [line for line in done.stdout.splitlines() if line.startswith(name)]
    return done.returncode == 0 and bool(states) and all(line.endswith(": up to date") for line in states)

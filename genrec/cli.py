"""The console command `genrec`: one sub-command a stage, the pipeline, and what reads its results.

    genrec run --config quickstart --yes      the whole pipeline
    genrec sft --help                         one stage and its knobs
    genrec presets                            the configurations that come along

A checkout's own scripts are shells over the same functions (`run_script`); they write below their checkout.
What takes time to import is imported when signals are answered, within functions.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from io import TextIOWrapper
from itertools import takewhile
from pathlib import Path

from genrec import __version__
from genrec.errors import fail, suggest
from genrec.launch import hold_back_notes, set_waiting_policy
from genrec.places import HOME, presets_dir
from genrec.signals import WAY_ON, exit_on_signals, raise_on_signals


def main(argv: list[str] | None = None) -> None:
    """The entry point of `genrec`."""
    exit_on_signals()
    argv = sys.argv[1:] if argv is None else argv
    name = argv[0] if argv else "--help"
    if name in ("-h", "--help", "help"):
        call(lambda: print(overview()))
    elif name in ("--version", "version", "presets") and argv[1:]:
        fail(f"{name} takes no further words, found '{argv[1]}'", code=2)
    elif name in ("--version", "version"):
        print(f"genrec {__version__}")
    elif name == "presets":
        call(lambda: print(describe_presets()))
    elif name in (commands := purposes()):
        run_command(name, argv[1:])
    else:
        known = [*commands, "presets"]
        fail(f"unknown command '{name}'{suggest(name, known)}; there are: {', '.join(known)}", code=2)


def purposes() -> dict[str, str]:
    """command -> purpose. Each is a module of genrec.stages with `main(argv)`; a stage's own name is its command."""
    from genrec.pipeline import BY_NAME, STAGES

    return {
        "run": "the whole pipeline, from raw data to a report",
        **{stage.command: stage.purpose for stage in STAGES.values()},
        "recommend": "what a user should be offered: lists by title, on the screen or in a file",
        **{stage.command: stage.purpose for stage in BY_NAME.values()},
        "serve": "lists by HTTP: one process, batches of what is queued, reloads under load",
        "push": "a trained model with its card, to the Hugging Face hub or a directory",
        "advise": "a report of misses -> the configuration that should help",
        "compare": "evaluations of the same rows -> did it help?",
        "runs": "runs side by side: what each was made of, what it scored, what differs",
        "ab": "an experiment's log and outcomes -> what it showed; `ab plan`: how many users it needs",
        "plan": "how large a shop -> CPU seconds, memory and machines a stage, from measured rates",
        "iterate": "the loop: analyse, change what is advised, keep what is better on valid",
        "update": "new events -> a run that went on from another: drift, grown SIDs, a model that learned on",
    }


def run_script(path: str, command: str, **options: str) -> None:
    """What a script of a checkout does: its command, with relative paths of presets below the checkout."""
    exit_on_signals()
    set_home(path)
    run_command(command, sys.argv[1:], **options)


def run_program(path: str, main: Callable[[], None]) -> None:
    """The same for a program of its own: `main`."""
    set_home(path)
    call(main)


def set_home(path: str) -> None:
    """Relative paths of presets and defaults start from the checkout that a script lies in; installed, from here."""
    home = next((directory for directory in Path(path).resolve().parents if is_checkout(directory)), None)
    if home is not None:
        os.environ.setdefault(HOME, str(home))


def is_checkout(directory: Path) -> bool:
    """Presets stand beside the package; an installed package carries its own."""
    return (directory / "genrec").is_dir() and (directory / "config" / "0.5b.yaml").exists()


def run_command(command: str, argv: list[str], **options: str) -> None:
    set_waiting_policy()
    stage = import_module(f"genrec.stages.{command}")
    call(lambda: stage.main(argv, **options))


def call(main: Callable[[], object]) -> None:
    """Before torch is imported the waiting policy is set; a reader of the output may leave early."""
    set_waiting_policy()
    hold_back_notes()
    if isinstance(sys.stdout, TextIOWrapper):  # a name that the terminal's encoding lacks is escaped
        sys.stdout.reconfigure(errors="backslashreplace")
    raise_on_signals()
    try:
        main()
        if sys.stdout is not None:  # it is where the output is closed, `>&-`
            sys.stdout.flush()
    except BrokenPipeError:  # `genrec sft --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(141) from None
    except KeyboardInterrupt:
        fail(f"stopped; {WAY_ON}", code=130)
    finally:
        exit_on_signals()  # while Python ends, where an exception would be a traceback


def overview() -> str:
    commands = purposes()
    width = max(map(len, commands)) + 2
    lines = [f"genrec {__version__}: LLM generative recommendation", "", "usage: genrec COMMAND [flags]", ""]
    lines += [f"  {name:<{width}}{purpose}" for name, purpose in commands.items()]
    lines += [f"  {'presets':<{width}}the configurations that come along", ""]
    return "\n".join([*lines, "genrec COMMAND --help lists the knobs of a command; begin with:", "",
                      "  genrec run --config quickstart --yes"])  # fmt: skip


def describe_presets() -> str:
    """Each preset with the first sentence of its own comment."""
    from genrec.presets import preset_names
    from genrec.tables import render_table

    rows = [[name, first_sentence(presets_dir() / f"{name}.yaml")] for name in preset_names()]
    table = render_table([["preset", "what it is"], *rows], words=("what it is",))
    return f"presets, for --config NAME (several are laid one over another):\n\n{table}"


def first_sentence(path: Path) -> str:
    """Of the comment that a preset begins with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = " ".join(line.removeprefix("#").strip() for line in takewhile(lambda line: line.startswith("#"), lines))
    sentence, end, _ = comment.partition(". ")
    return sentence + end.strip()

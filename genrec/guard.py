"""What something was made with, held against what is asked now: decided and worded in one place for all families."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genrec.artifacts import read_json
from genrec.errors import ArtifactError

Made = Mapping[str, Mapping[str, Any]]  # {"config": {knob: value}, "inputs": {name: fingerprint}}


def read_made(path: Path) -> Made:
    """What a file says that something was made with."""
    made = read_json(path)
    sections = [made.get(name) for name in ("config", "inputs")] if isinstance(made, dict) else []
    if not sections or not all(isinstance(section, dict) for section in sections):
        raise ArtifactError(
            f'{path} must hold {{"config": {{...}}, "inputs": {{...}}}}, which say what {path.parent} was made with; '
            "put the file back, or remove it and what lies beside it"
        )
    return made


def differences(made: Made, asked: Made) -> list[str]:
    """Sentences for each knob or input that differs; an input that is no longer on disk cannot differ."""
    was, now = made["config"], asked["config"]
    knobs = [
        f"{key} is {was.get(key)!r} there, {now.get(key)!r} asked"
        for key in sorted(was.keys() | now.keys())
        if was.get(key) != now.get(key)
    ]
    inputs = [
        f"{name} is now {value}, it was made from {made['inputs'].get(name, 'none')}"
        for name, value in sorted(asked["inputs"].items())
        if made["inputs"].get(name) != value
    ]
    return knobs + inputs


def refusal(place: Any, different: list[str], another: str, anew: str) -> str:
    """The message where something differs, with the two ways on: another place, or the same place made anew."""
    return (
        f"{place} was made with other settings: {'; '.join(different)}. Ways on: {another} for a new one beside it, "
        f"or {anew} to make it anew"
    )

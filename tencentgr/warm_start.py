"""A training that begins from the weights of another model (--state_dict_path)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from genrec.errors import ArtifactError
from genrec.launch import note
from genrec.runtime.tensor_file import checksum, load_weights
from tencentgr.checkpoints import read_weights
from tencentgr.model import TencentGR, TencentGRShape
from tencentgr.options import TencentGROptions

FREE = ("dropout", "gradient_checkpointing")  # parts of a shape that may change between two trainings
DEFAULTS = {"shape": asdict(TencentGRShape()), "schema": {}}  # of parts that an older model does not know
WAY = "pass the flags and data of its training, or leave --state_dict_path out"


def load_start(model: TencentGR, path: Path | None) -> str | None:
    """Fill the model with the weights at `path`; their checksum, None where training starts from nothing."""
    if path is None:
        return None
    tensors, card = read_weights(path)
    if card is not None and (different := list_differences(card, model)):
        raise ArtifactError(f"{path} is of another model: {'; '.join(different)}; {WAY}")
    load_weights(model, tensors, f"{path}, for the model that the flags and data describe,", WAY)
    note("train", f"starts from the weights of {path}")
    return checksum(tensors)


def list_differences(card: dict[str, Any], model: TencentGR) -> list[str]:
    """What the card says otherwise than the model is, of shape and features."""
    return [
        f"{name} is {there.get(name)!r} there, {value!r} here"
        for part, have in (("shape", asdict(model.shape)), ("schema", asdict(model.schema)))
        for there in [DEFAULTS[part] | (card.get(part) or {})]
        for name, value in have.items()
        if name not in FREE and plain(there.get(name)) != plain(value)
    ]


def plain(value: Any) -> Any:
    """As JSON has it: a tuple is a list."""
    return list(value) if isinstance(value, tuple) else value


def check_start(options: TencentGROptions) -> None:
    """The model to start from is none that this training would move away or write over."""
    path = options.state_dict_path
    if path is None:
        return
    models, place = options.models.resolve(), path.resolve()
    if place == models or (models in place.parents and not place.relative_to(models).parts[0].startswith("earlier-")):
        raise ArtifactError(
            f"--state_dict_path {path} lies in {options.models}, which this training writes; to go on with the run "
            "there leave it out and raise --num_epochs, to begin another from it pass --log_dir ANOTHER"
        )

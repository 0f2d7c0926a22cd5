"""Tensors and a JSON header in one safetensors file, whole or not at all: models, and trainings that a kill may stop.

A training's state names every tensor by what it belongs to: "model.<name>", "<another module>.<name>", and an
optimizer's moments "optimizer.<number of the parameter>.<moment>", or "optimizer.<its name>.<number>.<moment>" where
there are several.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from genrec.artifacts import whole_path
from genrec.errors import ArtifactError, first_line
from genrec.runtime.finite import describe_not_finite

MODEL = "model."  # what a model's weights begin with in a training's state

Tensors = dict[str, Tensor]


def write_tensors(path: Path, tensors: Tensors, key: str, header: Any) -> None:
    """Copies, since modules may share memory and the format wants each tensor to stand alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    copies = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()
    }
    with whole_path(path) as beside:
        save_file(copies, beside, {key: json.dumps(header)})


def read_tensors(path: Path, key: str) -> tuple[Tensors, Any]:
    """The tensors, and the header of that key; None where the file has none."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            header = (file.metadata() or {}).get(key)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path} cannot be read: {first_line(error)}") from None
    try:
        return tensors, None if header is None else json.loads(header)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read: its header is not valid JSON ({error})") from None


def read_state(path: Path, key: str) -> tuple[Tensors, Any]:
    """The same of a training's state, which is nothing without its header."""
    tensors, header = read_tensors(path, key)
    if header is None:
        raise ArtifactError(f"{path} is no checkpoint of this trainer: its header has no '{key}'")
    return tensors, header


def check_readable(path: Path) -> None:
    """Raise ArtifactError where the file is missing, or its length is not what its header says."""
    try:
        with safe_open(path, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path} cannot be read: {first_line(error)}") from None


def checksum(tensors: Tensors) -> str:
    """CRC-32 over the values of all tensors, in the order of their names."""
    value = 0
    for name in sorted(tensors):
        whole = tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        value = zlib.crc32(whole.numpy(), zlib.crc32(name.encode(), value))
    return f"{value:08x}"


def load_weights(
    module: nn.Module, tensors: Tensors, source: Path | str, way_on: str = "make it anew with --clean"
) -> None:
    """Fill a module with what was read from `source`: every tensor it has, of its shape, finite, and no other."""
    if fault := describe_difference(module.state_dict(), tensors) or describe_not_finite(tensors.items()):
        raise ArtifactError(f"{source} cannot be loaded: {fault}; put the file back, or {way_on}")
    module.load_state_dict(tensors)


def describe_difference(own: Tensors, stored: Tensors) -> str:
    """Why the tensors of a file are not those of a model, one clause; '' where they are."""
    if missing := own.keys() - stored.keys():
        return f"it lacks the tensor '{min(missing)}'{and_others(len(missing))}"
    if more := stored.keys() - own.keys():
        return f"it has the tensor '{min(more)}'{and_others(len(more))}, which the model has not"
    for name, tensor in stored.items():
        if tensor.shape != own[name].shape:
            return f"it has the tensor '{name}' as {tuple(tensor.shape)}, the model as {tuple(own[name].shape)}"
    return ""


def and_others(count: int) -> str:
    return f" and {count - 1} more" if count > 1 else ""


def pack_state(modules: dict[str, nn.Module], optimizers: dict[str, Optimizer]) -> Tensors:
    """{"model": module, ...} and {"optimizer": optimizer, ...} -> one training's tensors by name."""
    tensors = {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        tensors |= pack_moments(f"{name}.", optimizer)
    return tensors


def unpack_state(tensors: Tensors, modules: dict[str, nn.Module], optimizers: dict[str, Optimizer]) -> None:
    """Fill what `pack_state` was given; the rates of an optimizer stay as they are."""
    for name, module in modules.items():
        module.load_state_dict(select(f"{name}.", tensors))
    for name, optimizer in optimizers.items():
        unpack_moments(f"{name}.", tensors, optimizer)


def select(prefix: str, tensors: Tensors) -> Tensors:
    """The tensors whose names begin so, without the prefix."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def pack_moments(prefix: str, optimizer: Optimizer) -> Tensors:
    """The optimizer's state; its rates belong to the schedule and are not in it."""
    state = optimizer.state_dict()["state"]
    return {f"{prefix}{number}.{name}": value for number, own in state.items() for name, value in own.items()}


def unpack_moments(prefix: str, tensors: Tensors, optimizer: Optimizer) -> None:
    state: dict[int, Tensors] = {}
    for name, value in select(prefix, tensors).items():
        number, _, moment = name.partition(".")
        state.setdefault(int(number), {})[moment] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})

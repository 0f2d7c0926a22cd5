"""Models and half-finished trainings on disk.

A model is one .safetensors file with its card in the header: options, shape, schema, and where training stood. A
JSON copy of the card and a .pt export stand beside it for people and other programs. Files are whole or not there.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from genrec.artifacts import ArtifactError, first_line, write_json
from tencentgr.features import FeatureSchema
from tencentgr.model import Shape, TencentGR

BEST, CHECKPOINT, STATE = "best_model", "model", "training_state.safetensors"
CONFIG = "config.json"  # the card in a checkpoint's directory; that of best_model is best_model.json

Card = dict[str, Any]


def make_card(model: TencentGR, options: dict[str, Any], **standing: Any) -> Card:
    """{"args", "model_params", "epoch", "global_step", "valid_loss", ..., "shape", "schema"}."""
    params = sum(parameter.numel() for parameter in model.parameters())
    return {
        "args": options,
        "model_params": params,
        **standing,
        "shape": asdict(model.shape),
        "schema": asdict(model.schema),
    }


def save_best(directory: Path, model: TencentGR, card: Card) -> None:
    write_tensors(directory / f"{BEST}.safetensors", model.state_dict(), card)
    write_json(directory / f"{BEST}.json", card)
    beside = directory / f"{BEST}.pt.tmp"
    torch.save({"model_state_dict": model.state_dict(), "config": json.dumps(card)}, beside)
    os.replace(beside, directory / f"{BEST}.pt")


def save_checkpoint(directory: Path, model: TencentGR, card: Card) -> Path:
    """global_step{n}.valid_loss={x}/{model.safetensors, config.json}."""
    target = directory / f"global_step{card['global_step']}.valid_loss={card['valid_loss']:.4f}"
    target.mkdir(parents=True, exist_ok=True)
    write_tensors(target / f"{CHECKPOINT}.safetensors", model.state_dict(), card)
    write_json(target / CONFIG, card)
    return target


def write_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".tmp")
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(whole, beside, {"card": json.dumps(header)})
    os.replace(beside, path)


def load_model(path: Path, shape: Shape, schema: FeatureSchema) -> tuple[TencentGR, Card | None]:
    """A saved model, in evaluation mode. Weights without a card (a bare state_dict) need the given shape and schema."""
    tensors, card = read_weights(path)
    if card is not None:
        shape, schema = shape_of(card), FeatureSchema.from_dict(card["schema"])
    model = TencentGR(shape, schema)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:300]
        raise ArtifactError(
            f"the weights of {path} do not fit the model that the flags and data describe: {detail}"
        ) from None
    return model.eval(), card


def shape_of(card: Card) -> Shape:
    return Shape(**card["shape"] | {"similarity": tuple(card["shape"]["similarity"])})


def read_weights(path: Path) -> tuple[dict[str, Tensor], Card | None]:
    """Tensors and card of a .safetensors file, a .pt file, or a directory that holds one of ours."""
    if path.is_dir():
        names = [f"{name}.safetensors" for name in (CHECKPOINT, BEST)]
        path = next((path / name for name in names if (path / name).exists()), path / names[0])
    if not path.exists():
        raise ArtifactError(f"no model {path}; training writes best_model.pt into its log directory")
    return read_pt(path) if path.suffix == ".pt" else read_tensors(path)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Card | None]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            header = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path} cannot be read: {first_line(error)}") from None
    return tensors, json.loads(header["card"]) if "card" in header else None


def read_pt(path: Path) -> tuple[dict[str, Tensor], Card | None]:
    """Tensors only: a file that wants to run code is refused by torch."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or dangerous file can raise nearly anything
        raise ArtifactError(f"{path} cannot be read as tensors: {first_line(error)}") from None
    tensors = content.get("model_state_dict", content)
    return tensors, json.loads(content["config"]) if "config" in content else None


# What resuming needs: weights, the optimizer's moments, and how far training is.


def save_state(
    path: Path, weights: dict[str, Tensor], optimizer: torch.optim.Optimizer, standing: dict[str, Any]
) -> None:
    tensors = {f"model.{name}": value for name, value in weights.items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
    write_tensors(path, tensors, standing)


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[int, dict[str, Tensor]], dict[str, Any]]:
    """Weights, the optimizer's state by parameter number, and the header."""
    tensors, standing = read_tensors(path)
    weights = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".")
            moments.setdefault(int(number), {})[key] = value
    return weights, moments, standing

"""Models on disk.

A model is one .safetensors file with its card in the header: options, shape, schema, and where training stood. A JSON
copy of the card and a .pt export stand beside it for people and other programs; the copy has the hashes of the files
with weights, which are checked when one is read. Files are whole or not there.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genrec.artifacts import sha256, whole_file, write_json
from genrec.errors import ArtifactError, first_line
from genrec.runtime.tensor_file import load_weights, read_tensors, write_tensors
from tencentgr.features import FeatureSchema
from tencentgr.files import read_object
from tencentgr.model import TencentGR, TencentGRShape

BEST, CHECKPOINT = "best_model", "model"
CARD = "card"  # its key in the header
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
    write_tensors(directory / f"{BEST}.safetensors", model.state_dict(), CARD, card)
    with whole_file(directory / f"{BEST}.pt") as file:
        torch.save({"model_state_dict": model.state_dict(), "config": json.dumps(card)}, file)
    write_card(directory / f"{BEST}.json", card, f"{BEST}.safetensors", f"{BEST}.pt")


def save_checkpoint(directory: Path, model: TencentGR, card: Card) -> Path:
    """global_step{n}.valid_loss={x}/{model.safetensors, config.json}."""
    target = directory / f"global_step{card['global_step']}.valid_loss={card['valid_loss']:.4f}"
    target.mkdir(parents=True, exist_ok=True)
    write_tensors(target / f"{CHECKPOINT}.safetensors", model.state_dict(), CARD, card)
    write_card(target / CONFIG, card, f"{CHECKPOINT}.safetensors")
    return target


def write_card(path: Path, card: Card, *names: str) -> None:
    write_json(path, card | {"files": {name: {"sha256": sha256(path.with_name(name))} for name in names}})


def check_hash(path: Path) -> None:
    """The file is the one of which the card beside it has the hash; weights that came alone have no card."""
    card_path = path.with_name(CONFIG) if path.stem == CHECKPOINT else path.with_suffix(".json")
    card = read_object(card_path) if card_path.exists() else {}
    entry = card.get("files", {}).get(path.name, {}) if isinstance(card.get("files", {}), dict) else {}
    written, now = entry.get("sha256") if isinstance(entry, dict) else None, sha256(path)
    if written is not None and written != now:
        raise ArtifactError(
            f"{path} was changed after it was made: sha256 {str(written)[:16]} in {card_path.name}, {now[:16]} there "
            "now; put the file back, or train it anew with --clean"
        )


def load_model(path: Path, shape: TencentGRShape, schema: FeatureSchema) -> tuple[TencentGR, Card | None]:
    """A saved model, in evaluation mode. Weights without a card (a bare state_dict) need the given shape and schema."""
    tensors, card = read_weights(path)
    model = TencentGR(shape, schema) if card is None else build_from_card(card, path)
    if card is None:
        load_weights(model, tensors, f"{path}, for the model that the flags and data describe,", "pass other flags")
    else:
        load_weights(model, tensors, path)
    return model.eval(), card


def build_from_card(card: Card, path: Path) -> TencentGR:
    try:
        shape = TencentGRShape(**card["shape"] | {"similarity": tuple(card["shape"]["similarity"])})
        return TencentGR(shape, FeatureSchema.from_dict(card["schema"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"the card in {path} does not describe a TencentGR model: {type(error).__name__} {first_line(error)}"
        ) from None


def read_weights(path: Path) -> tuple[dict[str, Tensor], Card | None]:
    """Tensors and card of a .safetensors file, a .pt file, or a directory that holds one of ours."""
    if path.is_dir():
        names = [f"{name}.safetensors" for name in (CHECKPOINT, BEST)]
        path = next((path / name for name in names if (path / name).exists()), path / names[0])
    if not path.is_file():
        raise ArtifactError(f"no model {path}; training writes best_model.pt into its log directory")
    check_hash(path)
    tensors, card = read_pt(path) if path.suffix == ".pt" else read_tensors(path, CARD)
    check_weights(tensors, card, path)
    return tensors, card


def check_weights(tensors: Any, card: Any, path: Path) -> None:
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ArtifactError(f"{path} holds no tensors by name, as best_model.pt does and a bare state_dict")
    if card is not None and not isinstance(card, dict):
        raise ArtifactError(f"the card in {path} is no JSON object, found {type(card).__name__}")


def read_pt(path: Path) -> tuple[dict[str, Tensor], Card | None]:
    """Tensors only: a file that wants to run code is refused by torch."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or dangerous file can raise nearly anything
        raise ArtifactError(f"{path} cannot be read as tensors: {first_line(error)}") from None
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} holds a {type(content).__name__}, expected tensors by name")
    tensors = content.get("model_state_dict", content)
    try:
        return tensors, json.loads(content["config"]) if "config" in content else None
    except (ValueError, TypeError, RecursionError) as error:
        raise ArtifactError(f"the card in {path} is not valid JSON: {first_line(error)}") from None

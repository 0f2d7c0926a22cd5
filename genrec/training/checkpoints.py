"""The checkpoints of SFT and RL: sealed when whole, resumed from after a kill, removed once the model is written.

The Trainer writes a checkpoint file by file. Its seal comes last, when all of them are on the disk: size and CRC-32 of
each. A checkpoint without a seal was cut short by a kill, one that differs from its seal was damaged later.
"""

from __future__ import annotations

import re
import shutil
import zlib
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from genrec.artifacts import flush, flush_path, read_json, write_json
from genrec.errors import ArtifactError
from genrec.launch import note, rank
from genrec.runtime.finite import describe_not_finite, diverged

SEAL = "whole.json"  # in a checkpoint: {file: {"bytes", "crc32"}}


def checkpoint_path(directory: Path, step: int) -> Path:
    return directory / f"{PREFIX_CHECKPOINT_DIR}-{step}"


def list_checkpoints(directory: Path) -> list[Path]:
    """Newest first, whole or not."""
    named = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-\d+")
    paths = (path for path in directory.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if named.fullmatch(path.name))
    return sorted(paths, key=lambda path: int(path.name.split("-")[1]), reverse=True)


def find_newest_checkpoint(directory: Path, stage: str) -> str | None:
    """The newest checkpoint that can be gone on from; those after it are named, and removed: they are made again."""
    faults = {}
    for checkpoint in list_checkpoints(directory):
        if not (fault := find_fault(checkpoint)):
            discard(faults, stage, f"going on from {checkpoint.name}")
            return str(checkpoint)
        faults[checkpoint] = fault
    discard(faults, stage, "training begins anew")
    return None


def discard(faults: dict[Path, str], stage: str, way_on: str) -> None:
    if not faults:
        return
    note(stage, "; ".join(f"{path.name} cannot be used: {fault}" for path, fault in faults.items()) + f"; {way_on}")
    if rank() == 0:  # the others come to the same answer, whether they still see these or not
        for path in faults:
            shutil.rmtree(path)


def find_fault(checkpoint: Path) -> str:
    """Why nothing can go on from a checkpoint, or '': it must be whole, and so must the best one that it names.

    Where that one is no longer there, a better one had taken its place, and training comes to it again.
    """
    if damage := find_damage(checkpoint):
        return damage
    best = checkpoint_path(checkpoint.parent, read_json(checkpoint / TRAINER_STATE_NAME)["best_global_step"] or 0)
    damage = find_damage(best) if best.exists() else ""
    return damage and f"in {best.name}, the best so far, {damage}"


def find_damage(checkpoint: Path) -> str:
    """The first file that is not what the seal says, or ''."""
    try:
        seal = read_json(checkpoint / SEAL)
        for name, sealed in seal.items():
            entry = describe_file(checkpoint / name)
            if entry["bytes"] != sealed["bytes"]:
                return f"{name} has {entry['bytes']:,} bytes, {sealed['bytes']:,} were written"
            if entry != sealed:
                return f"{name} has the CRC-32 {entry['crc32']}, {sealed['crc32']} was written"
    except OSError as error:
        return f"{Path(error.filename).name} cannot be read ({error.strerror})"
    except (ArtifactError, AttributeError, KeyError, TypeError):
        return f"it was not written to its end (no {SEAL})"
    return ""


def describe_file(path: Path) -> dict[str, Any]:
    size = value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            size, value = size + len(block), zlib.crc32(block, value)
    return {"bytes": size, "crc32": f"{value:08x}"}


def seal_checkpoint(checkpoint: Path) -> None:
    """All files of a checkpoint to the disk, then its seal."""
    flush(checkpoint)
    files = (path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name != SEAL)
    write_json(checkpoint / SEAL, {str(path.relative_to(checkpoint)): describe_file(path) for path in files})
    flush_path(checkpoint)
    flush_path(checkpoint.parent)


class SealedCheckpoints:
    """For Trainers: a checkpoint holds finite weights, and is sealed when it is whole."""

    stage: str

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.add_callback(BestBeside())

    def _save_checkpoint(self, model, trial) -> None:
        step = self.state.global_step
        if fault := describe_not_finite(self.accelerator.unwrap_model(model).state_dict().items()):
            raise diverged(self.stage, fault, f"after step {step}")
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            seal_checkpoint(checkpoint_path(Path(self.args.output_dir), step))

    def _maybe_log_save_evaluate(self, tr_loss, *args, **kwargs) -> None:
        """Means of what is logged begin anew at a checkpoint, as they do for a run that goes on from it."""
        saving = self.control.should_save
        super()._maybe_log_save_evaluate(tr_loss, *args, **kwargs)
        if saving:
            tr_loss -= tr_loss
            self._globalstep_last_logged = self.state.global_step
            getattr(self, "_metrics", {}).get("train", {}).clear()  # GRPO's


class BestBeside(TrainerCallback):
    """The best checkpoint is looked for beside the one that training goes on from, also after the run was moved."""

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        best = checkpoint_path(Path(args.output_dir), state.best_global_step or 0)
        if best.exists():
            state.best_model_checkpoint = str(best)


def check_best(trainer: Any) -> None:
    """Raise ArtifactError where the best model of a training that has ended is not there to be loaded."""
    state, args = trainer.state, trainer.args
    if args.load_best_model_at_end and state.best_global_step and not state.best_model_checkpoint:
        raise ArtifactError(
            f"{checkpoint_path(Path(args.output_dir), state.best_global_step)}, best on valid, is no longer there; "
            f"nothing was published. Remove {args.output_dir} and run the same command again"
        )


def remove_checkpoints(directory: Path) -> None:
    """The model is written: its checkpoints are no longer needed."""
    for checkpoint in list_checkpoints(directory):
        shutil.rmtree(checkpoint)

"""Training curves: SwanLab (local, no account) or TensorBoard, as `run.tracker` says."""

from __future__ import annotations

import os

from transformers import TrainerCallback

from genrec.artifacts import ArtifactError
from genrec.config import Config
from genrec.stage import installed


def callbacks(config: Config, stage: str) -> list[TrainerCallback]:
    """What the Trainer calls to record a stage under <run>/logs."""
    tracker = config.run.tracker
    if tracker == "none":
        return []
    if installed(tracker) is None:
        raise ArtifactError(
            f"run.tracker is {tracker}, which is not installed; pip install {tracker}, or --run.tracker none"
        )
    logs = config.run.dir / "logs" / tracker
    if tracker == "tensorboard":
        from transformers.integrations import TensorBoardCallback

        os.environ["TENSORBOARD_LOGGING_DIR"] = str(logs / stage)
        return [TensorBoardCallback()]
    from swanlab.integration.transformers import SwanLabCallback

    logs.mkdir(parents=True, exist_ok=True)
    return [
        SwanLabCallback(
            project="genrec", experiment_name=f"{config.run.dir.name}-{stage}", mode="offline", logdir=str(logs)
        )
    ]

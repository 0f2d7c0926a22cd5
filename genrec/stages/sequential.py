"""Train the sequential baselines: SASRec with the full softmax, begun from text vectors, or with the published loss.

Reads   data/, and embeddings/ for sasrec_text
Writes  sequential/<model>/{model.safetensors, config.json, training.json}

    genrec sequential --config quickstart
    genrec sequential --config 0.5b --models sasrec,sasrec_text
    genrec sequential --config 0.5b --models sasrec_bce --epochs 60
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genrec import stage
from genrec.config import Config
from genrec.launch import note
from genrec.store import RunStore


def build(config: Config, partial: Path) -> dict[str, Any]:
    """Each model in turn; a killed run goes on from its last epoch, and skips the models that were finished."""
    from genrec.training.sequential import TRAINING, read_training, train_sasrec

    data = RunStore.of(config).prepared()
    for name in config.sequential.models:
        (partial / name).mkdir(exist_ok=True)
        if not (partial / name / TRAINING).exists():
            train_sasrec(name, config, data, partial / name)
    trained = {name: read_training(partial / name) for name in config.sequential.models}
    for name, progress in trained.items():
        note("sequential", f"{name}: NDCG@10 {progress.best_ndcg:.4f} on valid after epoch {progress.best_epoch + 1}")
    return {name: {"epochs": p.epoch, "valid_ndcg@10": p.best_ndcg} for name, p in trained.items()}


def main(argv: list[str] | None = None) -> None:
    stage.main("sequential", __doc__, build, argv=argv)

"""Train the sequential baselines: SASRec with the full softmax, or with the published loss (sasrec_bce).

Reads   data/
Writes  sequential/<model>/{model.safetensors, config.json, training.json}

    python sequential.py --config config/quickstart.yaml
    python sequential.py --config config/0.5b.yaml --models sasrec,sasrec_bce --epochs 60
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genrec import stage
from genrec.config import Config


def build(config: Config, partial: Path) -> dict[str, Any]:
    """Each model in turn; a killed run goes on from its last epoch, and skips the models that were finished."""
    from genrec.data.prepared import load_prepared
    from genrec.training.sequential import TRAINING, read_training, train_sasrec

    data = load_prepared(config)
    for name in config.sequential.models:
        (partial / name).mkdir(exist_ok=True)
        if not (partial / name / TRAINING).exists():
            train_sasrec(name, config, data, partial / name)
    trained = {name: read_training(partial / name) for name in config.sequential.models}
    for name, progress in trained.items():
        stage.note(
            "sequential", f"{name}: NDCG@10 {progress.best_ndcg:.4f} on valid after epoch {progress.best_epoch + 1}"
        )
    return {name: {"epochs": p.epoch, "valid_ndcg@10": p.best_ndcg} for name, p in trained.items()}


if __name__ == "__main__":
    stage.main("sequential", "sequential", __doc__, build)

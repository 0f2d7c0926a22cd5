"""Train the sequential baselines: SASRec with the full softmax, begun from text vectors, or with the published loss.

Reads   data/, and embeddings/ for sasrec_text
Writes  sequential/<model>/{model.safetensors, config.json, training.json}

    python sequential.py --config config/quickstart.yaml
    python sequential.py --config config/0.5b.yaml --models sasrec,sasrec_text
    python sequential.py --config config/0.5b.yaml --models sasrec_bce --epochs 60
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genrec import stage
from genrec.artifacts import read_manifest
from genrec.config import Config


def build(config: Config, partial: Path) -> dict[str, Any]:
    """Each model in turn; a killed run goes on from its last epoch, and skips the models that were finished."""
    from genrec.data.prepared import load_prepared
    from genrec.training.sequential import TRAINING, read_training, train_sasrec

    if "sasrec_text" in config.sequential.models:
        stage.require(config, "embeddings")
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


def sources(config: Config) -> dict[str, str]:
    """The embeddings, where a model reads them."""
    made = read_manifest(stage.stage_dir(config, "embeddings")) if "sasrec_text" in config.sequential.models else None
    return {"embeddings": made.fingerprint} if made else {}


if __name__ == "__main__":
    stage.main("sequential", "sequential", __doc__, build, sources)

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
    from genrec.data.repeats import leaves_out_seen
    from genrec.runtime.training_record import is_trained, read_record
    from genrec.training.sequential import TEXT, forget_states, train_sasrec

    store, settings = RunStore.of(config), config.sequential
    data = store.prepared()
    filter_seen = leaves_out_seen(config.evaluation.filter_seen, data)
    for name in settings.models:
        (partial / name).mkdir(exist_ok=True)
        if is_trained(partial / name):
            forget_states(partial / name)
            continue
        vectors = store.vectors(len(data.catalog)) if name == TEXT else None
        train_sasrec(name, data, settings, config.run.seed, config.run.device, partial / name, vectors, filter_seen)
    records = {name: read_record(partial / name) for name in settings.models}
    for name, record in records.items():
        note("sequential", f"{name}: NDCG@10 {record.score:.4f} on valid after epoch {record.best}")
    return {name: record.summary() for name, record in records.items()}


def main(argv: list[str] | None = None) -> None:
    stage.main("sequential", __doc__, build, argv=argv)

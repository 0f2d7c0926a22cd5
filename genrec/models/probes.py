"""What a run's own data says of two limits before anything is trained: longer histories, and prompts that are cut.

E examples, H history
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from genrec import artifacts
from genrec.data.prepared import Prepared
from genrec.data.prompts import Encoder
from genrec.data.sequences import Examples
from genrec.data.tasks import RECOMMEND, make_texts
from genrec.diagnosis.seen_items import estimate_change
from genrec.evaluation.metrics import item_scores
from genrec.evaluation.report import estimate_to_json
from genrec.models.card import load_card
from genrec.models.knn import fit_knn
from genrec.sids import load_index

METRIC, CUTOFF = "ndcg@10", 10
BLOCK = 1024  # rows that are scored at once


def probe_history(data: Prepared, split: str, seed: int) -> dict[str, Any]:
    """What item-kNN, which needs no training, gains from histories twice as long; `cut`: rows with more past."""
    rows, kept = data.splits[split], data.max_history
    past = rows.end - data.sequences.offset[rows.user]
    longer = 2 * kept
    content = {"kept": kept, "longer": longer, "cut": round(float((past > kept).mean()), 6)}
    if not (past > kept).any():
        return content | {"gain": None}
    knn = fit_knn(data.sequences, data.seen, data.train_count)
    before, after = (score_rows(knn, each.examples(split)) for each in (data, replace(data, max_history=longer)))
    return content | {"gain": estimate_to_json(estimate_change(rows.user, after - before, seed))}


def score_rows(model: Any, examples: Examples) -> np.ndarray:
    """(E,) NDCG@10 of a model's lists."""
    scores = []
    for begin in range(0, len(examples), BLOCK):
        rows = examples.take(np.arange(begin, min(begin + BLOCK, len(examples))))
        scores.append(item_scores(model.recommend(rows, CUTOFF), rows.target)[METRIC])
    return np.concatenate(scores)


def measure_prompts(model_dir: Path, data: Prepared, examples: Examples) -> dict[str, Any]:
    """The share of prompts that the model's cutoff_len cuts, and the tokens of the longest, uncut, with its answer."""
    from transformers import AutoTokenizer

    card, index = load_card(model_dir), load_index(model_dir / artifacts.SID_INDEX)
    texts = make_texts(data, index, card.source, list(card.profile), card.wording)
    encoder = Encoder(AutoTokenizer.from_pretrained(model_dir))
    length = np.array(
        [
            len(encoder.prompt(texts.prompt(RECOMMEND, history, user), limit=2**31))
            for history, user in zip(examples.history, examples.user.tolist(), strict=True)
        ]
    )  # (E,)
    return {
        "cutoff_len": card.cutoff_len,
        "cut": round(float((length > card.cutoff_len - index.num_levels).mean()), 6),
        "longest": int(length.max()) + index.num_levels,
    }

"""RecBole's SASRec on given rows; benchmarks/sequential.py calls it with the Python that has recbole.

    python benchmarks/recbole_sasrec.py DIRECTORY WIDTH EPOCHS SEED

Reads   DIRECTORY/shop/shop.{train,valid,test}.inter, history.npy (E, H) of the test rows, -1 left of items
Writes  made.json {rows, epochs, seconds of training and valid}, listed.npy (E, 50) items

RecBole's own settings but for width, epochs and early stop; what is written is of the epoch best on valid.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed

LISTED = 50


def main(directory: Path, width: int, epochs: int, seed: int) -> None:
    torch.set_num_threads(1)
    settings = {
        "data_path": str(directory), "checkpoint_dir": str(directory / "saved"), "show_progress": False,
        "benchmark_filename": ["train", "valid", "test"], "alias_of_item_id": ["item_id_list"],
        "load_col": {"inter": ["user_id", "item_id_list", "item_id"]},
        "USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id", "ITEM_LIST_LENGTH_FIELD": "item_length",
        "MAX_ITEM_LIST_LENGTH": 10, "train_neg_sample_args": None, "loss_type": "CE",
        "hidden_size": width, "inner_size": 4 * width, "epochs": epochs, "stopping_step": 5, "seed": seed,
        "eval_args": {"order": "TO", "split": {"LS": "valid_and_test"}, "mode": "full", "group_by": None},
        "metrics": ["NDCG"], "topk": [10], "valid_metric": "NDCG@10", "use_gpu": False, "state": "WARNING",
    }  # fmt: skip
    config = Config(model=SASRec, dataset="shop", config_dict=settings)
    init_seed(seed, True)
    dataset = create_dataset(config)
    train, valid, _ = data_preparation(config, dataset)
    model = SASRec(config, train.dataset)
    trainer = Trainer(config, model)
    history = np.load(directory / "history.npy", allow_pickle=False)
    scores, passed, began = [], [], time.process_time()

    def keep(epoch: int, score: float) -> None:
        """After each epoch: lists of the best one, and how far it is, so that a run may be ended at any time."""
        passed.append(time.process_time() - began - sum(listing))
        scores.append(score)
        before = time.process_time()
        if score == max(scores):
            np.save(directory / "listed.npy", lists(model, dataset, history))
        made = {"rows": len(train.dataset), "epochs": len(passed), "seconds": passed[-1], "valid": scores}
        (directory / "made.json").write_text(json.dumps(made))
        listing.append(time.process_time() - before)

    listing: list[float] = []  # seconds that are no part of training
    trainer.fit(train, valid, saved=False, verbose=False, callback_fn=keep)


@torch.no_grad()
def lists(model: SASRec, dataset, history: np.ndarray) -> np.ndarray:
    """(E, H) -> (E, LISTED) in the shop's numbers; items that no row of RecBole's has are never listed."""
    token_of = dataset.field2id_token["item_id"]
    own = np.array([-1] + [int(token) for token in token_of[1:]])  # RecBole's number -> ours
    number = np.zeros(own.max() + 1, dtype=np.int64)
    number[own[1:]] = np.arange(1, len(own))
    model.eval()
    found = []
    for begin in range(0, len(history), 512):
        rows = [number[row[row >= 0]] for row in history[begin : begin + 512]]
        sequence = torch.zeros(len(rows), history.shape[1], dtype=torch.long)
        for place, row in enumerate(rows):
            sequence[place, : len(row)] = torch.from_numpy(row)
        length = torch.tensor([max(1, len(row)) for row in rows])
        scores = model.full_sort_predict({"item_id_list": sequence, "item_length": length})
        scores[:, 0] = -torch.inf
        found.append(own[scores.topk(LISTED, dim=1).indices.numpy()])
    return np.concatenate(found).astype(np.int32)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))

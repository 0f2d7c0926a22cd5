"""How fast the sequential families are.

    python benchmarks/sequential.py features                       TencentGR's training step against plain Python loops
    python benchmarks/sequential.py ranking                        100,000 users x 100,000 items, time and memory
    python benchmarks/sequential.py recbole --run_dir RUN --recbole PYTHON --out OUT
                                                                   SASRec against RecBole's on a prepared run

Everything is timed in CPU seconds of one process and one thread, so that other work on the machine does not count.
`features` writes a sample, takes the same weights and the same negatives through both, and says how far the losses
lie apart. `recbole` runs RecBole by the Python of an environment of its own (benchmarks/recbole_sasrec.py) on the very
rows of RUN (data/prepare.py), and scores both lists by genrec.evaluation.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import peak, timed
from genrec.artifacts import read_json, write_json
from genrec.config import Sequential
from genrec.evaluation.metrics import Recommendations, item_scores
from tencentgr import files, generator
from tencentgr.assembly import make_objective, make_optimizer, shape_of
from tencentgr.conversion import Interactions
from tencentgr.dataset import SequenceDataset, TencentGRData, all_rows, collate, load_data, with_target
from tencentgr.entries import locate_source
from tencentgr.features import FeatureSchema, FeatureTable
from tencentgr.losses import Objective
from tencentgr.model import Features, TencentGR
from tencentgr.options import TencentGROptions, parse_strict
from tencentgr.ranking import rank_rows, trim
from tencentgr.runs import empty_users


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("features", "ranking", "recbole"))
    parser.add_argument("--steps", type=int, default=4, help="features: timed steps of each (default 4)")
    parser.add_argument(
        "--length", type=int, default=0, help="features: interactions a user (default the sample's 5..40)"
    )
    parser.add_argument("--users", type=int, default=100_000, help="ranking: users (default 100000)")
    parser.add_argument("--items", type=int, default=100_000, help="ranking: items (default 100000)")
    parser.add_argument("--run_dir", type=Path, help="recbole: a run that data/prepare.py has prepared")
    parser.add_argument("--recbole", type=Path, help="recbole: the python that has recbole")
    parser.add_argument("--out", type=Path, help="recbole: where both are kept; what is there is not trained again")
    parser.add_argument("--hidden", type=int, default=64, help="recbole: width of both (default 64)")
    parser.add_argument("--epochs", type=int, default=30, help="recbole: its most epochs (default 30)")
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    {"features": features, "ranking": ranking, "recbole": recbole}[options.what](options)


# Training steps.


def features(asked: argparse.Namespace) -> None:
    options = parse_strict(["--mm_emb_id", "81", "--dropout", "0", "--seed", str(asked.seed)])
    if asked.length:
        generator.SHORTEST, generator.LONGEST = asked.length, asked.length
    with tempfile.TemporaryDirectory() as directory:
        generator.write_sample(Path(directory), num_users=1000, num_items=2000, mm_emb_id=("81",))
        data = load_data(locate_source(directory))
        lines = (Path(directory) / files.SEQ).read_text().splitlines()
        item_features = files.read_item_features(Path(directory))
    rows = with_target(data, all_rows(data))
    torch.manual_seed(asked.seed)
    model = TencentGR(shape_of(options), data.schema).use(data.items, data.users)
    objective = make_objective(options, model, data, rows)
    optimizer = make_optimizer(options, objective)
    dataset = SequenceDataset(data, rows, options.max_history)
    loops = Loops(objective, data, lines, item_features, options)
    print(f"loss of one batch: {loss_of_both(objective, dataset, loops)}")
    batches = np.arange(len(dataset))[: options.batch_size * asked.steps].reshape(asked.steps, -1)

    def step(make_loss: Callable[[list[int]], Tensor], numbers: np.ndarray) -> None:
        optimizer.zero_grad()
        make_loss(numbers.tolist()).backward()
        optimizer.step()

    ours = [
        timed(lambda n=n: step(lambda rows: objective(trim(collate(dataset.__getitems__(rows)))), n)).cpu
        for n in batches
    ]
    plain = [timed(lambda n=n: step(loops.loss, n)).cpu for n in batches]
    fast, slow = (options.batch_size / statistics.median(times) for times in (ours, plain))
    print(f"{fast:8.1f} sequences a CPU second, tables on the device\n{slow:8.1f} sequences a CPU second, Python loops")
    print(f"{fast / slow:8.1f} times")


def loss_of_both(objective: Objective, dataset: SequenceDataset, loops: Loops) -> str:
    numbers = list(range(16))
    torch.manual_seed(0)
    ours = objective(trim(collate(dataset.__getitems__(numbers)))).item()
    plain = loops.loss(numbers, same_negatives=True).item()
    return f"{ours:.6f} by tables, {plain:.6f} by loops"


class Loops:
    """The way of the published code: JSON line -> a feature dict a token -> tensors filled value by value in Python,
    every position of every sequence through the towers, one random negative a position."""

    def __init__(
        self,
        objective: Objective,
        data: TencentGRData,
        lines: list[str],
        item_features: dict,
        options: TencentGROptions,
    ):
        self.objective, self.model, self.data, self.lines = objective, objective.model, data, lines
        self.item_features, self.length = item_features, options.max_history + 1
        self.random = np.random.default_rng(0)
        vectors = data.items.emb["81"]
        self.vector = {item: vectors[item] for item in range(len(vectors))}
        self.usable = with_target(data, all_rows(data)).sequence

    def sample(self, number: int) -> tuple[list, list, list]:
        """Tokens, next items and negatives of one user, left-padded lists of length L."""
        records = json.loads(self.lines[self.usable[number]])
        profile = [("user", r[0], r[2]) for r in records if r[1] is None]
        items = [("item", r[1], r[3]) for r in records if r[1] is not None]
        chain = profile + items[-(self.length - len(profile) + 1) :]
        own = {item for _, item, _ in items}
        tokens, following = chain[:-1], chain[1:]
        negatives = [self.negative(own) for _ in following]
        pad = [None] * (self.length - len(tokens))
        return pad + tokens, pad + following, pad + negatives

    def negative(self, own: set[int]) -> tuple:
        while (item := int(self.random.integers(1, self.data.schema.num_items + 1))) in own:
            pass
        return "item", item, self.item_features[str(item)]

    def features(self, tokens: list[list], side: str) -> Features:
        """B x L tokens -> tensors, filled one value at a time."""
        schema, B = self.data.schema, len(tokens)
        sparse, array = getattr(schema, f"{side}_sparse"), getattr(schema, f"{side}_array")
        ids = torch.zeros(B, self.length, dtype=torch.long)
        values = {name: torch.zeros(B, self.length, dtype=torch.long) for name in sparse}
        lists = {name: [[[0]] * self.length for _ in range(B)] for name in array}
        vectors = np.zeros((B, self.length, 32), dtype=np.float32)
        for row in range(B):
            for place, token in enumerate(tokens[row]):
                if token is None or token[0] != side:
                    continue
                ids[row, place] = token[1]
                for name in sparse:
                    values[name][row, place] = token[2].get(name, 0)
                for name in array:
                    lists[name][row][place] = token[2].get(name, [0])
                if side == "item":
                    vectors[row, place] = self.vector[token[1]]
        return Features(
            ids.flatten(),
            torch.stack([value.flatten() for value in values.values()], dim=1),
            self.padded(lists),
            torch.zeros(B * self.length, 0),
            {"81": torch.from_numpy(vectors).flatten(0, 1)} if side == "item" else {},
            torch.zeros(B * self.length, 0, dtype=torch.long),
        )

    def padded(self, lists: dict[str, list]) -> Tensor:
        longest = max((len(v) for rows in lists.values() for row in rows for v in row), default=1)
        columns = [[v + [0] * (longest - len(v)) for row in rows for v in row] for rows in lists.values()]
        rows = len(next(iter(lists.values()))) * self.length if lists else 0
        return torch.tensor(columns).transpose(0, 1) if lists else torch.zeros(rows, 0, 1, dtype=torch.long)

    def loss(self, numbers: list[int], same_negatives: bool = False) -> Tensor:
        model, shape = self.model, (len(numbers), self.length)
        tokens, following, negatives = (list(column) for column in zip(*map(self.sample, numbers), strict=True))
        kind = torch.tensor([[0 if t is None else 1 if t[0] == "item" else 2 for t in row] for row in tokens])
        wanted = torch.tensor([[t is not None for t in row] for row in following])
        if same_negatives:
            negatives = self.drawn(numbers, following, wanted)
        seq, pos, neg = (model.item_tower(self.features(tokens_of_side, "item")).view(*shape, -1)
                         for tokens_of_side in (tokens, following, negatives))  # fmt: skip
        user = model.user_tower(self.features(tokens, "user")).view(*shape, -1)
        x = torch.where((kind == 1)[..., None], seq, 0) + torch.where((kind == 2)[..., None], user, 0)
        x = x * model.shape.hidden_size**0.5 + model.position(torch.arange(1, self.length + 1) * (kind > 0))
        states = model.backbone(x * (kind > 0)[..., None], kind > 0)
        criterion = torch.nn.BCEWithLogitsLoss()
        good, bad = (states * pos).sum(-1), (states * neg).sum(-1)
        loss = criterion(good[wanted], torch.ones_like(good)[wanted])
        return loss + criterion(bad[wanted], torch.zeros_like(bad)[wanted])

    def drawn(self, numbers: list[int], following: list, wanted: Tensor) -> list:
        """The negatives that Objective draws after manual_seed(0), as tokens."""
        torch.manual_seed(0)
        users = torch.from_numpy(self.usable[numbers])[:, None].expand_as(wanted)[wanted]
        items = iter(self.objective.sampler(users, 1, 0.0)[:, 0].tolist())
        return [
            [None if t is None else ("item", item := next(items), self.coded(item)) for t in row] for row in following
        ]

    def coded(self, item: int) -> dict:
        return self.item_features.get(str(item), {})


# Ranking.


def ranking(asked: argparse.Namespace) -> None:
    data = made_up(asked.users, asked.items, asked.seed)
    options = parse_strict(["--max_history", "20"])
    torch.manual_seed(asked.seed)
    model = TencentGR(shape_of(options), data.schema).use(data.items, data.users).eval()
    before = peak()
    rows = with_target(data, all_rows(data))
    ranking_of_all, cpu, clock = timed(lambda: rank_rows(model, data, rows, time_features=False))
    whole = 4 * len(rows) * asked.items / 2**20
    print(f"{len(rows):,} users x {asked.items:,} items, every item scored, width {options.hidden_size}:")
    print(f"{cpu:8.1f} CPU seconds ({clock:.0f} by the clock), lists of 50 and AUC")
    print(f"{peak():8.0f} MiB peak memory, {before:.0f} of it before; the whole matrix would take {whole:,.0f} MiB")
    print(f"{ranking_of_all.auc.mean():8.3f} mean AUC of random weights")


def made_up(users: int, items: int, seed: int, events: int = 10) -> TencentGRData:
    """Random interactions with two features an item."""
    random = np.random.default_rng(seed)
    item = random.integers(1, items + 1, users * events).astype(np.int32)
    sequences = Interactions(np.arange(users + 1, dtype=np.int64) * events, item, np.ones(len(item), np.int8),
                             np.arange(len(item), dtype=np.int64), np.zeros(users, np.int32))  # fmt: skip
    schema = FeatureSchema(num_users=0, num_items=items, item_sparse={"1": 50, "2": 1000})
    sparse = random.integers(1, (51, 1001), (items + 1, 2)).astype(np.int32)
    empty = np.zeros((items + 1, 0, 1), np.int32), np.zeros((items + 1, 0), np.float32)
    table = FeatureTable(np.arange(items + 1, dtype=np.int32), sparse, *empty)
    return TencentGRData(
        schema, table, empty_users(), sequences, np.arange(items + 1).astype(str), np.arange(users).astype(str), {}
    )


# RecBole.


def recbole(asked: argparse.Namespace) -> None:
    from genrec.models.sasrec import load_sasrec
    from genrec.runtime.training_record import read_record
    from genrec.store import RunStore
    from genrec.training.sequential import train_sasrec

    settings, data = Sequential(hidden_size=asked.hidden), RunStore(asked.run_dir).prepared()
    test = data.examples("test")
    mine, theirs = asked.out / "ours", asked.out / "recbole"
    mine.mkdir(parents=True, exist_ok=True)
    theirs.mkdir(exist_ok=True)
    if not (mine / "seconds.json").exists():
        arguments = ("sasrec", data, settings, asked.seed, "auto", mine)
        write_json(mine / "seconds.json", timed(lambda: train_sasrec(*arguments)).cpu)
    spent, epochs = read_json(mine / "seconds.json"), read_record(mine).length
    ours = item_scores(load_sasrec(mine, "cpu").recommend(test, 50), test.target)
    if not (theirs / "made.json").exists():
        write_atomic(data, theirs)
        script = str(Path(__file__).with_name("recbole_sasrec.py"))
        command = [str(asked.recbole), "-W", "ignore", script, str(theirs.resolve())]
        command += [str(asked.hidden), str(asked.epochs), str(asked.seed)]
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=theirs)
    facts, listed = read_json(theirs / "made.json"), np.load(theirs / "listed.npy", allow_pickle=False)
    falling = np.broadcast_to(-np.arange(listed.shape[1], dtype=np.float32), listed.shape)
    other = item_scores(Recommendations(listed, falling), test.target)
    targets = int(data.seen.sum()) - len(data.sequences)  # every event of training but a user's first
    print(f"RecBole's valid NDCG@10 by epoch: {facts['valid']}")
    print(f"{'':10}{'samples/CPU s':>14}{'epochs':>8}{'CPU s':>8}{'HR@10':>8}{'NDCG@10':>9}")
    for name, samples, rounds, cpu, scores in (
        ("genrec", targets, epochs, spent, ours),
        ("RecBole", facts["rows"], facts["epochs"], facts["seconds"], other),
    ):
        rate = samples * rounds / cpu
        print(f"{name:10}{rate:14,.0f}{rounds:8}{cpu:8.0f}{scores['hr@10'].mean():8.4f}{scores['ndcg@10'].mean():9.4f}")


def write_atomic(data, directory: Path) -> None:
    """RecBole's files of given splits: a row is a history (list of items) and its target."""
    (directory / "shop").mkdir(exist_ok=True)
    for split in ("train", "valid", "test"):
        rows = data.examples(split)
        lines = ["user_id:token\titem_id_list:token_seq\titem_id:token"]
        for user, history, target in zip(rows.user, rows.history, rows.target, strict=True):
            if (history >= 0).any():
                lines.append(f"{user}\t{' '.join(map(str, history[history >= 0]))}\t{target}")
        (directory / "shop" / f"shop.{split}.inter").write_text("\n".join(lines) + "\n")
    np.save(directory / "history.npy", data.examples("test").history)


if __name__ == "__main__":
    main()

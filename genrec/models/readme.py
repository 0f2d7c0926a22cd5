"""The card of a model directory for people, README.md, in the form that the Hugging Face hub reads.

Training writes it with what is known by then; `genrec push` writes a copy's with the table of the run's evaluation.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from genrec.artifacts import CARD, ITEMS, MODEL_README, SID_INDEX, read_manifest
from genrec.data.shop import Shop
from genrec.evaluation.report import format_bounds, read_results
from genrec.models.card import Card
from genrec.runtime.training_record import TrainingRecord
from genrec.sids import SidIndex

TAGS = ["recommendation", "generative-retrieval", "semantic-ids", "genrec"]
DEPTHS = (10, 5, 3, 1)  # a table goes to the first of these that all its lists reach
STAGES = {"sft": "supervised fine-tuning", "rl": "supervised fine-tuning, then reinforcement learning (GRPO)"}


@dataclass(frozen=True)
class Described:
    """What a card tells of a model."""

    stage: str  # sft | rl
    card: Card
    shop: Shop
    index: SidIndex
    record: TrainingRecord


def write_readme(
    model: Described,
    directory: Path,
    name: str = ".",
    rows: list[dict[str, Any]] | None = None,
    loading: str | None = None,
) -> None:
    """`name` is how the model is loaded: its directory or its name on the hub; `rows` are results.json of a table.

    `loading` tells how, in place of what holds for a model directory.
    """
    sections = [
        describe_front(model.card),
        f"# A language model that recommends: {model.card.dataset}",
        describe_purpose(model),
        "## Data",
        describe_data(model),
        "## Training",
        describe_training(model),
        "## Evaluation",
        describe_rows(model.stage, rows or []),
        "## How to load",
        describe_loading(model, name) if loading is None else loading,
        "## Licence",
        describe_licence(model.card),
        "## Limits",
        LIMITS.format(items=f"{len(model.shop.catalog):,}"),
    ]
    (directory / MODEL_README).write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def describe_front(card: Card) -> str:
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": TAGS}
    front |= {"license": card.licence} if card.licence else {}
    front |= {"base_model": card.base} if "/" in card.base else {}
    front |= {"datasets": [card.dataset]} if card.dataset else {}
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---"


def describe_purpose(model: Described) -> str:
    levels = " x ".join(map(str, model.index.sizes))
    return (
        f"It reads what a user had, as semantic IDs, and answers with the semantic ID of the next item: {levels} "
        f"codes, one path for each of {len(model.shop.catalog):,} items. `{ITEMS}` holds the shop's ids and titles, "
        f"`{SID_INDEX}` the codes, `{CARD}` what belongs together."
    )


def describe_data(model: Described) -> str:
    card = model.card
    history = f"the latest {card.max_history} items" if card.max_history else "as many items as fit the prompt"
    return "\n".join([
        f"- data set: {card.dataset} (read as `{card.source}`), fingerprint `{card.data}`",
        f"- {len(model.shop.catalog):,} items, {int(model.shop.train_count.sum()):,} events in training",
        f"- semantic IDs: fingerprint `{card.sids}`",
        f"- a prompt holds {history}, {card.cutoff_len} tokens at most",
    ])  # fmt: skip


def describe_training(model: Described) -> str:
    record = model.record
    begun = f"Begun from {model.card.base}" if model.card.base else "Begun from random weights"
    score = "" if record.score is None else f", {record.metric} {record.score:.4f} on valid rows"
    if not record.best:
        kept = f"No {record.unit[:-1]} was better than its beginning, which was kept{score}."
        return f"{begun}: {STAGES[model.stage]}. {kept}"
    return (
        f"{begun}: {STAGES[model.stage]}, {record.length} {record.unit}; kept is the state after {record.best}{score}. "
        f"Softmax over {'the legal children of a code' if model.card.normalization == 'trie' else 'the vocabulary'}."
        f"{describe_teacher(record)}"
    )


def describe_teacher(record: TrainingRecord) -> str:
    """A sentence where the targets were softened, else nothing."""
    if not (weights := record.statistics.get("teacher")):
        return ""
    named = " and ".join(f"{name} (weight {weight:g})" for name, weight in weights.items() if weight)
    share = f"{record.statistics['teacher_weight']:.0%}"
    return f" The targets are {share} the probabilities of {named}, the rest is the item that came."


def describe_rows(stage: str, rows: list[dict[str, Any]]) -> str:
    """A Markdown table: the model, and the baselines beside it, with 95% intervals over users."""
    if not rows:
        return "Not in this file: the model was saved before it was scored. `genrec push` adds the table of its run."
    depth = next(k for k in DEPTHS if all(f"hr@{k}" in row["metrics"] for row in rows))
    names = (f"hr@{depth}", f"ndcg@{depth}")
    head = [
        f"| model | {' | '.join(f'{name.upper()} [95% interval]' for name in names)} |",
        "|---" * (len(names) + 1) + "|",
    ]
    lines = []
    for row in rows:
        cells = [f"{row['metrics'][name]['mean']:.4f} {format_bounds(row['metrics'][name], '.4f')}" for name in names]
        mine = row["model"] == stage
        lines.append(f"| {'**this model**' if mine else row['model']} | {' | '.join(cells)} |")
    scored, lists = rows[0]["rows"], next(row["lists"] for row in rows if row["model"] == stage)
    seen = "leave out" if lists["filter_seen"] else "may hold"
    note = (
        f"{scored['rows']:,} of {scored['rows_of_split']:,} {scored['split']} rows, ranked against all "
        f"{scored['items']:,} items; lists {seen} what a user had before. The other rows are baselines."
    )
    return "\n".join([*head, *lines, "", note])


def describe_backends(model: Described, name: str, backends: list[str]) -> str:
    """How an export is loaded, by each of these."""
    names = ["torch" if backend == "bfloat16" else backend for backend in backends]
    where = "from inside this directory" if name == "." else "by its name"
    return f"""Recommendations {where}, by one of the backends {", ".join(names)}. Those of ONNX need onnxruntime and
tokenizers, and neither torch nor transformers:

```python
import genrec

shop = genrec.load("{name}", backend="{names[0]}")
print(shop.recommend([{list_ids(model)}], k=5))
```"""


def list_ids(model: Described) -> str:
    """Two items that were taken often, as JSON."""
    best = np.argsort(-model.shop.train_count, kind="stable")[:2]
    return json.dumps(model.shop.catalog.item_id[best].tolist(), ensure_ascii=False)


def describe_loading(model: Described, name: str) -> str:
    ids = list_ids(model)
    where = "from inside this directory" if name == "." else "by its name"
    return f"""Weights and tokenizer {where}:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{name}")
tokenizer = AutoTokenizer.from_pretrained("{name}")
```

Recommendations, in the shop's own item ids:

```python
import genrec

shop = genrec.load("{name}")
print(shop.recommend([{ids}], k=5))
```"""


def describe_licence(card: Card) -> str:
    data = f"The terms of the data set {card.dataset} hold beside it."
    if card.licence:
        return f"That of the base model: {card.licence}. {data}"
    if card.base:
        return f"That of the base model, {card.base}, which does not say it in its files. {data}"
    return f"Trained from random weights; whoever publishes it names a licence. {data}"


LIMITS = (
    "It knows {items} items and no others; an item that came later has no path. Titles and users' habits are those of "
    "the training events, with what is popular there favoured. Its scores order items for one user and are no "
    "calibrated probabilities of a purchase. Texts that it writes other than semantic IDs mean nothing."
)


def find_licence(base: str) -> str:
    """What the README.md of a local base model says in its front matter; '' where there is none."""
    path = Path(base) / MODEL_README
    if not path.is_file():
        return ""
    _, _, rest = path.read_text(encoding="utf-8", errors="replace").partition("---\n")
    front, closed, _ = rest.partition("\n---")
    try:
        said = yaml.safe_load(front) if closed else None
    except yaml.YAMLError:
        return ""
    licence = said.get("license") if isinstance(said, dict) else None
    return licence if isinstance(licence, str) else ""


def rows_of_run(run: Path, stage: str, fingerprint: str) -> list[dict[str, Any]]:
    """results.json of this model in its run's table and of the baselines on the same rows; [] where it is not there."""
    scored = {path.name: path for path in (run / "evaluation").glob("*") if read_manifest(path)}
    manifest = read_manifest(scored[stage]) if stage in scored else None
    if manifest is None or manifest.inputs.get(stage) != fingerprint:
        return []
    own = read_results(scored[stage])
    others = [read_results(path) for name, path in sorted(scored.items()) if name in BASELINES]
    return [*(row for row in others if row["rows"] == own["rows"]), own]


BASELINES = ("popular", "popular_recent", "last_item", "item_knn", "sasrec", "sasrec_text", "sasrec_bce")

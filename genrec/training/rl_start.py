"""What RL starts from: the prompts of its tasks, the SFT model as a policy, and a first look at its groups.

B prompts, G answers a prompt, H history
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genrec.config import Rl
from genrec.data.prepared import Prepared
from genrec.data.tasks import Texts, draw_row_numbers, find_task, take_row
from genrec.errors import ArtifactError
from genrec.models.language import load_pretrained
from genrec.models.sid_prompts import TaskPrompts
from genrec.models.token_tree import takes_trees
from genrec.training.rewards import Groups
from genrec.training.rollout import Answers, roll_out

PROMPTS_AT_ONCE = 16


def make_prompts(
    data: Prepared, texts: Texts, tokenizer: PreTrainedTokenizerBase, limit: int, settings: Rl, seed: int
) -> Dataset:
    """A row a prompt: token ids of at most `limit`, the target item, the history (H, -1 = none), the task's name."""
    rng = np.random.default_rng(seed)
    cut = data.examples("train")
    tasks = {name: find_task(name) for name in settings.tasks}
    rows = [
        (name, *take_row(tasks[name], cut, row), int(cut.user[row]) if tasks[name].from_history else -1)
        for name, share in settings.tasks.items()
        for row in draw_row_numbers(tasks[name], share, cut.target, data.catalog, rng)
    ]
    if settings.sample_train and settings.sample_size < len(rows):
        rows = [rows[row] for row in np.sort(rng.choice(len(rows), settings.sample_size, replace=False))]
    if outside := [target for _, _, target, _ in rows if not 0 <= target < len(texts.index)]:
        raise ArtifactError(f"target {outside[0]} is outside the catalogue of {len(texts.index)} items")
    prompts, none = TaskPrompts(texts, tokenizer), [-1] * data.max_history
    return Dataset.from_dict(
        {
            "prompt": [prompts.prompt(tasks[name], items, limit, user) for name, items, _, user in rows],
            "target": [target for _, _, target, _ in rows],
            "history": [items.tolist() if tasks[name].from_history else none for name, items, _, _ in rows],
            "task": [name for name, *_ in rows],
        }
    )


def load_policy(model_dir: Path, device: torch.device) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """An SFT model ready to be trained on: without dropout, for what is trained must be what answered."""
    model, tokenizer = load_pretrained(str(model_dir), torch.float32)
    if not takes_trees(model):
        raise ArtifactError(
            f"{model_dir} refuses or ignores 4-D attention masks ({type(model).__name__}), on which RL rests; "
            "leave it out (--skip rl), or begin from a Qwen2, Qwen3, Llama or SmolLM model"
        )
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0
    return model.to(device), tokenizer


def sample_groups(
    model: PreTrainedModel, answers: Answers, prompts: Dataset, settings: Rl, count: int, seed: int
) -> Groups:
    """Groups of the model as it is, for `count` prompts drawn by seed."""
    rows = prompts.select(np.random.default_rng(seed).permutation(len(prompts))[:count])
    target, generator = np.array(rows["target"]), torch.Generator(device=model.device).manual_seed(seed)
    item = np.concatenate(
        [
            roll_out(model.eval(), answers, batch["prompt"], np.array(batch["target"]), settings, generator)
            for batch in rows.iter(batch_size=PROMPTS_AT_ONCE)
        ]
    )
    rank = np.tile(np.arange(settings.num_generations), (len(rows), 1))
    return Groups(item, rank, target, np.array(rows["history"]))

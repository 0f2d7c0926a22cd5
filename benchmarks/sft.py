"""Targets a second of our SFT and of the plain way, on the same targets, in turn in one process; memory beside it.

    python benchmarks/sft.py --config config/quickstart.yaml --run.dir RUN           # data/ and sids/ must be there
    python benchmarks/sft.py ... --shape 0.5b --layers 4 --dtype bfloat16 --targets 256 --rounds 1
    python benchmarks/sft.py ... --sides plain,trl

`plain` is transformers.Trainer as it comes: one padded row a target, logits at every token. `trl` is TRL's SFTTrainer
on the same rows. `none`, `exact` and `windows` are our trainer with that `sft.pack`. A step holds as many targets
everywhere, so a packed step has fewer rows. All other flags are keys of the config, by path.

Memory is how far the peak of a process of its own rises above what it held before training.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import in_turn, medians, peak_growth, sides_table, timed
from benchmarks.shapes import HALF_B, HALF_B_VOCABULARY
from genrec.commandline import parse_strict, stage_program
from genrec.config import Config

SIDES = ("plain", "none", "exact", "windows")


@dataclass(frozen=True)
class Bench:
    """What all sides share: users drawn by seed with all their train targets, prompts, a model that is made anew."""

    options: argparse.Namespace
    config: Config
    data: Any  # Prepared
    train: Any  # Split
    builder: Any  # RowBuilder

    def trees(self, pack: str) -> list[Any]:
        """The rows of one packing, sid_to_sid alone."""
        import numpy as np

        from genrec.training.rows import make_rows

        sft = self.config.sft.model_copy(update={"pack": pack, "tasks": {"sid_to_sid": 1.0}})
        alike, data = np.ones(len(self.data.sequences.item)), self.data
        seed = self.config.run.seed
        return list(make_rows(self.builder, data.sequences, self.train, alike, data.max_history, sft, seed))

    def model(self) -> Any:
        import torch
        from transformers import Qwen2Config, Qwen2ForCausalLM

        from genrec.models.language import make_scratch, teach_sids

        torch.manual_seed(0)
        tokenizer, index = self.builder.prompts.encoder.tokenizer, self.builder.texts.index
        if self.options.shape == "scratch":
            model = make_scratch(self.config.sft.scratch, tokenizer, 2 * self.config.sft.cutoff_len)
            teach_sids(model, tokenizer, index, None)
        else:
            shape = HALF_B | ({"num_hidden_layers": self.options.layers} if self.options.layers else {})
            vocabulary = HALF_B_VOCABULARY + sum(index.sizes)
            shape |= {"vocab_size": vocabulary, "tie_word_embeddings": True}
            model = Qwen2ForCausalLM._from_config(Qwen2Config(**shape), attn_implementation="sdpa")
        return model.to(torch.bfloat16 if self.options.dtype == "bfloat16" else torch.float32)


def main() -> None:
    options, rest = parse()
    if options.alone:
        bench = prepare(options, parse_strict(stage_program("benchmarks/sft.py", ""), rest).config)
        print(peak_growth(make_trainer(bench, options.alone).train)[1])
        return
    memory = {side: memory_of(side) for side in options.sides}
    bench = prepare(options, parse_strict(stage_program("benchmarks/sft.py", ""), rest).config)
    seconds = in_turn({side: partial(seconds_of, bench, side) for side in options.sides}, options.rounds)
    speed = {side: len(bench.train) / taken for side, taken in medians(seconds).items()}
    print(f"{options.shape} {options.dtype}, {len(bench.train):,} targets, {options.targets_a_step} a step")
    print(sides_table("targets/s", speed, memory, against=options.sides[0]))


def parse() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=lambda text: text.split(","), default=list(SIDES), help="what to compare, a,b")
    parser.add_argument("--shape", choices=["scratch", "0.5b"], default="scratch", help="sft.scratch, or Qwen2.5-0.5B")
    parser.add_argument("--layers", type=int, help="blocks of the 0.5b shape, fewer than its 24 where memory is short")
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16", "autocast"], default="float32",
        help="of weights and arithmetic; autocast: float32 weights, bfloat16 arithmetic, as sft.bf16 true",
    )  # fmt: skip
    parser.add_argument("--targets", type=int, default=2048, help="train targets, at least; whole users are drawn")
    parser.add_argument("--targets_a_step", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds, all sides in turn; medians are printed")
    parser.add_argument("--alone", help=argparse.SUPPRESS)  # one side, in the process whose memory is measured
    return parser.parse_known_args()


def prepare(options: argparse.Namespace, config: Config) -> Bench:
    import numpy as np

    from genrec.data.tasks import RECOMMEND, Texts
    from genrec.models.language import catalog_texts, train_tokenizer
    from genrec.store import RunStore
    from genrec.training.rows import RowBuilder

    store = RunStore.of(config)
    data = store.prepared()
    texts = Texts(data.catalog, store.index(), config.data.source)
    tokenizer = train_tokenizer(catalog_texts(data.catalog, [texts.prompt(RECOMMEND, []).text]), 2000)
    tokenizer.add_tokens(texts.index.tokens())
    train = data.splits["train"]
    order = np.random.default_rng(0).permutation(len(data.sequences))  # (U,)
    rows = np.bincount(train.user, minlength=len(order))[order].cumsum()
    chosen = order[: np.searchsorted(rows, options.targets) + 1]
    train = train.take(np.flatnonzero(np.isin(train.user, chosen)))
    return Bench(options, config, data, train, RowBuilder(tokenizer, texts, config.sft.cutoff_len))


def seconds_of(bench: Bench, side: str) -> float:
    return timed(make_trainer(bench, side).train).wall


def make_trainer(bench: Bench, side: str) -> Any:
    """A trainer that goes once over all targets; anything it does beside training is switched off."""
    from transformers import PrinterCallback

    make = {"plain": plain_trainer, "trl": trl_trainer}.get(side, tree_trainer)
    trainer = make(bench, side, {
        "output_dir": tempfile.gettempdir(), "num_train_epochs": 1, "learning_rate": 1e-4, "use_cpu": True,
        "save_strategy": "no", "report_to": [], "disable_tqdm": True, "logging_strategy": "no",
        "bf16": bench.options.dtype == "autocast",
    })  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer


def tree_trainer(bench: Bench, pack: str, arguments: dict[str, Any]) -> Any:
    from transformers import TrainingArguments

    from genrec.training.rows import Collator, to_dataset
    from genrec.training.supervised import TreeTrainer

    trees = bench.trees(pack)
    rows = max(1, round(bench.options.targets_a_step * len(trees) / len(bench.train)))
    arguments |= {"per_device_train_batch_size": rows, "train_sampling_strategy": "group_by_length"}
    return TreeTrainer(
        model=bench.model(), args=TrainingArguments(**arguments, remove_unused_columns=False), decode=dict,
        train_dataset=to_dataset(iter(trees)), data_collator=Collator(bench.config.sft.cutoff_len),
    )  # fmt: skip


def plain_rows(bench: Bench) -> list[dict[str, list[int]]]:
    """Token ids and labels of one row a target."""
    whole = [(tree.ids + tree.labels[-1:], tree.labels) for tree in bench.trees("none")]
    return [{"input_ids": ids, "labels": [-100] * (len(ids) - len(labels)) + labels} for ids, labels in whole]


def plain_trainer(bench: Bench, _: str, arguments: dict[str, Any]) -> Any:
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    arguments |= {"per_device_train_batch_size": bench.options.targets_a_step}
    return Trainer(
        model=bench.model(), args=TrainingArguments(**arguments), train_dataset=plain_rows(bench),
        data_collator=DataCollatorForSeq2Seq(bench.builder.prompts.encoder.tokenizer),
    )  # fmt: skip


def trl_trainer(bench: Bench, _: str, arguments: dict[str, Any]) -> Any:
    import datasets
    from trl import SFTConfig, SFTTrainer

    datasets.disable_progress_bars()
    rows = [
        {"input_ids": row["input_ids"], "completion_mask": [int(label >= 0) for label in row["labels"]]}
        for row in plain_rows(bench)
    ]
    arguments |= {"per_device_train_batch_size": bench.options.targets_a_step, "gradient_checkpointing": False}
    return SFTTrainer(
        model=bench.model(), args=SFTConfig(**arguments, completion_only_loss=True),
        train_dataset=datasets.Dataset.from_list(rows), processing_class=bench.builder.prompts.encoder.tokenizer,
    )  # fmt: skip


def memory_of(side: str) -> float:
    """MiB that training adds, measured in a process that runs this side alone."""
    command = [sys.executable, __file__, *sys.argv[1:], "--alone", side]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


if __name__ == "__main__":
    main()

"""One GRPO step (rollout, reference, update) of our trainer and of TRL's own, in turn in one process; memory beside it.

    OMP_NUM_THREADS=1 python benchmarks/rl.py --shape quickstart --prompts 16
    OMP_NUM_THREADS=1 python benchmarks/rl.py --shape 0.5b --layers 4 --prompts 2 --rounds 1

`trl` is trl.GRPOTrainer with its own row-by-row log-probabilities; its rollouts are model.generate(num_beams=G) under a
prefix-dictionary processor. `vocab` and `trie` are our trainer under the two normalizations; `vocab` computes what
`trl` does, and how nearly is printed: answers in common, and how far the two updates are apart. Random weights, 3,686
items of 3 x 256 codes, prompts of 113 to 128 tokens, G = 16, plain SGD, reward diversity (it leaves no group dead).
Seconds are CPU seconds. Memory is how far the peak of the first step rises above what stood before it (model and
reference, read into memory, and what earlier steps have left).
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.decode import CODES, ITEMS, LEVELS, SHAPES, PrefixDictionary, make_catalogue
from benchmarks.measuring import in_turn, medians, peak_growth, sides_table, timed

GROUP = 16
SIDES = ("trie", "vocab", "trl")


class Step(NamedTuple):
    """What one step took and what came of it."""

    seconds: float  # of CPU
    memory: float  # MiB
    answers: set[tuple[int, ...]]  # prompt and answer
    weights: dict[str, Any]


class Bench:
    """A model in a directory, a catalogue, prompts: what all sides share."""

    def __init__(self, options: argparse.Namespace, directory: Path):
        import numpy as np
        import torch
        from datasets import Dataset
        from transformers import Qwen2Config, Qwen2ForCausalLM

        from genrec.models.beam import SidVocabulary
        from genrec.models.language import train_tokenizer

        rng = np.random.default_rng(0)
        self.options, self.directory = options, directory
        text, shape = SHAPES[options.shape]
        self.base = text
        self.index = make_catalogue()
        starts = tuple(CODES * level for level in range(LEVELS))
        self.sids = SidVocabulary(torch.arange(text, text + CODES * LEVELS), starts, (CODES,) * LEVELS)
        self.tokenizer = train_tokenizer(["a shop of many things"], 300)
        if not (directory / "config.json").exists():
            shape = shape | ({"num_hidden_layers": options.layers} if options.layers else {})
            settings = Qwen2Config(**shape, vocab_size=text + CODES * LEVELS, tie_word_embeddings=True)
            torch.manual_seed(0)
            Qwen2ForCausalLM._from_config(settings).save_pretrained(directory)
        lengths = rng.integers(113, 129, options.prompts)
        self.prompts = Dataset.from_dict(
            {
                "prompt": [rng.integers(300, 2000, length).tolist() for length in lengths],
                "target": rng.integers(0, ITEMS, options.prompts).tolist(),
                "history": [[-1]] * options.prompts,
                "task": ["sid_to_sid"] * options.prompts,
            }
        )

    def trainer(self, side: str) -> Any:
        import numpy as np
        import torch
        from trl import GRPOConfig, GRPOTrainer

        from genrec.config import Rl
        from genrec.models.language import load_pretrained
        from genrec.training.grpo import GroupTrainer, make_reward_function
        from genrec.training.rewards import Knowledge
        from genrec.training.rollout import make_answers

        model, on_cpu = load_pretrained(str(self.directory), torch.float32)[0], self.options.device == "cpu"
        model = model.to(self.options.device)
        rows = self.options.prompts * GROUP
        args = GRPOConfig(
            output_dir=tempfile.gettempdir(), max_steps=1, per_device_train_batch_size=rows, num_generations=GROUP,
            max_completion_length=LEVELS, beta=1e-3, learning_rate=1e-4, optim="sgd", loss_type="grpo", use_cpu=on_cpu,
            bf16=not on_cpu, gradient_checkpointing=False, save_strategy="no", logging_strategy="no", report_to=[],
            disable_tqdm=True, shuffle_dataset=False,
        )  # fmt: skip
        known = Knowledge(self.index.codes, np.random.default_rng(1).integers(0, 100, ITEMS))
        shared = {"args": args, "train_dataset": self.prompts, "processing_class": self.tokenizer}
        if side == "trl":
            reward = make_reward_function("diversity", known, GROUP)
            return GRPOTrainer(model, reward_funcs=[reward], rollout_func=self.generate, **shared)
        settings = Rl(num_generations=GROUP, reward_type="diversity", normalization=side)
        answers = make_answers(self.index, self.sids, model.device, GROUP)
        return GroupTrainer(model, settings=settings, answers=answers, knowledge=known, decode=dict, **shared)

    def generate(self, prompts: list[list[int]], trainer: Any) -> dict[str, list]:
        """Constrained beams of every prompt by transformers, all prompts at once, padded on the left."""
        import torch
        from transformers import LogitsProcessorList

        prompts = prompts[::GROUP]
        width = max(map(len, prompts))
        device = trainer.model.device
        ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
        trainer.model.eval()
        with torch.no_grad():
            found = trainer.model.generate(
                input_ids=ids, attention_mask=mask, num_beams=GROUP, num_return_sequences=GROUP, do_sample=False,
                max_new_tokens=LEVELS, min_new_tokens=LEVELS, length_penalty=0.0, early_stopping=True, pad_token_id=0,
                logits_processor=LogitsProcessorList([PrefixDictionary(self.index, self.base, width)]),
            )[:, width:].tolist()  # fmt: skip
        trainer.model.train()
        item_of = {tuple(row): item for item, row in enumerate(self.index.codes.tolist())}
        item = [item_of[tuple((token - self.base) % CODES for token in row)] for row in found]
        repeated = [prompt for prompt in prompts for _ in range(GROUP)]
        ranks = list(range(GROUP)) * len(prompts)
        return {"prompt_ids": repeated, "completion_ids": found, "logprobs": None, "item": item, "rank": ranks}


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(options, Path(scratch))
        steps = in_turn({side: partial(one_step, bench, side) for side in options.sides}, options.rounds)
        if {"trl", "vocab"} <= set(steps):
            compare(bench, steps["trl"][0], steps["vocab"][0])
    report(options, steps)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=lambda text: text.split(","), default=list(SIDES), help="what to compare, a,b")
    parser.add_argument("--shape", choices=SHAPES, default="quickstart")
    parser.add_argument("--layers", type=int, help="blocks, fewer than the shape's where memory is short")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; on cuda in bfloat16, and seconds say little")
    parser.add_argument("--prompts", type=int, default=16, help="prompts a step; completions are 16 times as many")
    parser.add_argument("--rounds", type=int, default=3, help="steps timed, all sides in turn; medians are printed")
    return parser.parse_args()


def one_step(bench: Bench, side: str) -> Step:
    import torch
    from transformers import PrinterCallback

    trainer = bench.trainer(side)
    trainer.remove_callback(PrinterCallback)
    read_weights(trainer.model, trainer.ref_model)
    gc.collect()  # trainers of earlier steps are cycles: freed within this one, they would hide what it takes
    spent, memory = peak_growth(lambda: timed(trainer.train))
    batch = trainer._buffered_inputs[0]
    rows = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=-1).flatten(0, -2).tolist()
    return Step(spent.cpu, memory, {tuple(row) for row in rows}, trainer.model.state_dict())


def read_weights(*models: Any) -> None:
    """Weights as loaded are pages of a file, in memory once touched; a step would seem to need what it reads first."""
    for model in models:
        for weight in model.parameters():
            weight.data = weight.data.clone()


def compare(bench: Bench, theirs: Step, ours: Step) -> None:
    start = bench.trainer("vocab").model.state_dict()
    apart = sum((theirs.weights[name] - ours.weights[name]).square().sum() for name in start) ** 0.5
    length = sum((theirs.weights[name] - start[name]).square().sum() for name in start) ** 0.5
    alike = len(theirs.answers & ours.answers) / len(theirs.answers)
    print(f"answers in common {alike:.1%}, updates apart {apart / length:.1e} of their length")


def report(options: argparse.Namespace, steps: dict[str, list[Step]]) -> None:
    seconds = medians({side: [step.seconds for step in taken] for side, taken in steps.items()})
    speed = {side: options.prompts / taken for side, taken in seconds.items()}
    memory = {side: taken[0].memory for side, taken in steps.items()}
    print(f"{options.shape}, {options.prompts} prompts a step, G = {GROUP}")
    print(sides_table("prompts/CPU s", speed, memory, against=list(steps)[-1]))


if __name__ == "__main__":
    main()

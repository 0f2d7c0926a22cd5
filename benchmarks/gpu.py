"""SFT, a GRPO step, decoding and a server on one card, and whether its lists are a CPU's: one Markdown table.

    bash benchmarks/gpu.sh                        # the Qwen2.5-0.5B shape on a card, under eight minutes
    bash benchmarks/gpu.sh --device cpu --tiny    # the same parts on a small shape, in seconds

Random weights, 3,686 items of 3 x 256 codes, prompts of about 100 tokens, no hub. On a card training is in float32
weights under bfloat16, decoding in bfloat16, parity in float32. A part that fails leaves the others; memory is the
most that the card held, on a CPU the process's rise. Shares are of the matrix-multiplication rate measured on the
device just before. The server is that of the toy shop with a model of the same width and blocks, hardly trained; its
rows say what clients waited.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import rl
from benchmarks.decode import (
    BEAMS,
    CODES,
    LEVELS,
    SHAPES,
    PrefixDictionary,
    equal,
    generate,
    make_catalogue,
    make_prompts,
    ranked,
)
from benchmarks.frontier import set_spread
from benchmarks.measuring import peak_growth, timed
from genrec.models.beam import SidVocabulary, beam_search
from genrec.models.frontier import frontier_search
from genrec.models.token_tree import Branch, TokenTree, grow_tree
from genrec.models.trie import Trie, build_trie
from genrec.training.rows import Collator, to_dataset
from genrec.training.supervised import TreeTrainer

ROOT = Path(__file__).resolve().parent.parent
TOP, SPREAD = 10, 2.0  # items of a frontier's list; standard deviation of the logits
HEADER = "| part | what | a second | MiB | |\n|---|---|---|---|---|"


@dataclass(frozen=True)
class Size:
    """How much of each part is done."""

    shape: str
    rows: int  # prompts to decode; a side ends after `seconds`
    batch: int
    generate_rows: int
    parity_rows: int
    sft_rows: int  # of some 220 tokens
    sft_batch: int
    rl_prompts: int
    seconds: float  # that one side of decoding may take, and one load of the server
    matmul: int  # rows and columns


WHOLE = Size("0.5b", 4533, 64, 64, 16, 512, 16, 16, 60, 8192)
TINY = Size("quickstart", 32, 16, 4, 4, 8, 4, 2, 5, 256)


class Measured(NamedTuple):
    result: Any
    seconds: float
    memory: float  # MiB


@dataclass(frozen=True)
class Asked:
    device: str
    size: Size

    @property
    def base(self) -> int:
        """Text tokens; those of SIDs come after them."""
        return SHAPES[self.size.shape][0]

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32 if self.device == "cpu" else torch.bfloat16

    def model(self, dtype: torch.dtype, device: str) -> PreTrainedModel:
        """The same weights at every call, their logits spread so that lists are clear."""
        torch.manual_seed(0)
        settings = Qwen2Config(
            vocab_size=self.base + LEVELS * CODES, tie_word_embeddings=True, **SHAPES[self.size.shape][1]
        )
        model = Qwen2ForCausalLM._from_config(settings, attn_implementation="sdpa").eval()
        set_spread(model, self.sids("cpu"), make_prompts(self.base, 4), SPREAD)
        return model.to(device, dtype)

    def sids(self, device: str) -> SidVocabulary:
        token = torch.arange(self.base, self.base + LEVELS * CODES, device=device)
        return SidVocabulary(token, tuple(CODES * level for level in range(LEVELS)), (CODES,) * LEVELS)

    def trie(self, device: str) -> Trie:
        return build_trie(make_catalogue()).to(torch.device(device))

    def measure(self, work: Callable[[], Any]) -> Measured:
        """A call with what the card does of it, and the most memory that was held."""
        if self.device == "cpu":
            (result, _, seconds), memory = peak_growth(lambda: timed(work))
            return Measured(result, seconds, memory)
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
        result, _, seconds = timed(lambda: (work(), torch.cuda.synchronize())[0])
        return Measured(result, seconds, torch.cuda.max_memory_allocated() / 2**20)

    def matmul_rate(self) -> float:
        """Operations a second of a square product, best of five."""
        side = self.size.matmul
        left, right = (torch.randn(side, side, device=self.device, dtype=self.dtype) for _ in range(2))
        return 2 * side**3 / min(self.measure(lambda: left @ right).seconds for _ in range(5))


def main() -> None:
    options = parse()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "no card is seen here (torch.cuda.is_available() is False); --device cpu --tiny runs the parts"
        )
    device = "CPU" if options.device == "cpu" else torch.cuda.get_device_name()
    print(f"{device}, torch {torch.__version__}, {'small' if options.tiny else '0.5B'} shape\n\n{HEADER}", flush=True)
    asked = Asked(options.device, TINY if options.tiny else WHOLE)
    failed = [part for part in options.parts if not run_part(part, asked)]
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a small shape and a few rows: that all parts run")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    return parser.parse_args()


def run_part(part: str, asked: Asked) -> bool:
    """Its rows on the screen, and whether it ended well; what it says of a failure goes to stderr."""
    try:
        rows, ended = PARTS[part](asked), True
    except Exception:
        traceback.print_exc()
        rows, ended = ["failed | | |"], False
    print("\n".join(f"| {part} | {row} |" for row in rows), flush=True)
    gc.collect()  # trainers are cycles
    if asked.device == "cuda":
        torch.cuda.empty_cache()
    return ended


def measure_sft(asked: Asked) -> list[str]:
    """Packed rows through the trainer of SFT; the first step is not counted."""
    rate, model = asked.matmul_rate(), asked.model(torch.float32, asked.device)
    make_trainer(asked, model, make_trees(asked, asked.size.sft_batch)).train()
    trees = make_trees(asked, asked.size.sft_rows)
    done = asked.measure(make_trainer(asked, model, trees).train)
    tokens, answers = sum(len(tree.ids) for tree in trees), sum(len(tree.labels) for tree in trees)
    blocks = sum(weight.numel() for name, weight in model.named_parameters() if ".layers." in name)
    arithmetic = 6 * (blocks * tokens + model.get_output_embeddings().weight.numel() * answers)
    share = arithmetic / done.seconds / rate
    return [
        f"tokens of {asked.size.sft_batch} packed rows a step | {tokens / done.seconds:,.0f} | {done.memory:,.0f} "
        f"| {share:.0%} of the matmul rate ({rate / 1e12:.3g} TFLOP/s)"
    ]


def make_trees(asked: Asked, count: int) -> list[TokenTree]:
    """A trunk of 100 tokens and ten targets, each behind a tail of nine."""
    rng = np.random.default_rng(0)
    sids = asked.base + CODES * np.arange(LEVELS)

    def branch(after: int) -> Branch:
        return Branch(after, rng.integers(0, asked.base, 9).tolist(), (sids + rng.integers(0, CODES, LEVELS)).tolist())

    return [
        grow_tree(rng.integers(0, asked.base, 100).tolist(), [branch(after) for after in range(10, 101, 10)])
        for _ in range(count)
    ]


def make_trainer(asked: Asked, model: PreTrainedModel, trees: list[TokenTree]) -> TreeTrainer:
    from transformers import PrinterCallback, TrainingArguments

    arguments = TrainingArguments(
        output_dir=tempfile.gettempdir(), num_train_epochs=1, learning_rate=1e-4, use_cpu=asked.device == "cpu",
        bf16=asked.device != "cpu", per_device_train_batch_size=asked.size.sft_batch, remove_unused_columns=False,
        save_strategy="no", logging_strategy="no", report_to=[], disable_tqdm=True,
    )  # fmt: skip
    trainer = TreeTrainer(
        model=model, args=arguments, decode=dict, train_dataset=to_dataset(iter(trees)), data_collator=Collator(0)
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def measure_rl(asked: Asked) -> list[str]:
    """A GRPO step: rollout, reference, update; the second is measured."""
    prompts = asked.size.rl_prompts
    options = argparse.Namespace(shape=asked.size.shape, layers=None, prompts=prompts, device=asked.device)
    with tempfile.TemporaryDirectory() as scratch:
        bench = rl.Bench(options, Path(scratch))
        bench.trainer("trie").train()
        trainer = bench.trainer("trie")
        rl.read_weights(trainer.model, trainer.ref_model)
        done = asked.measure(trainer.train)
    return [f"prompts of a GRPO step of {prompts} x {rl.GROUP} | {prompts / done.seconds:,.2f} | {done.memory:,.0f} |"]


def measure_decoding(asked: Asked) -> list[str]:
    """Requests by beams and by `generate` under `vocab`, by beams and by a frontier under `trie`."""
    size, device = asked.size, asked.device
    model = asked.model(asked.dtype, device)
    prompts = sorted(make_prompts(asked.base, size.rows), key=len)[::-1]
    space = (model, asked.trie(device), asked.sids(device))
    width = max(map(len, prompts))
    processor = PrefixDictionary(make_catalogue(), asked.base, width)
    sides = {
        f"{BEAMS} beams, vocab": (size.batch, size.rows, lambda batch: beam_search(*space, batch, BEAMS)),
        f"generate, {BEAMS} beams": (4, size.generate_rows, lambda batch: generate(model, batch, width, processor)),
        f"{BEAMS} beams, trie": (size.batch, size.rows, lambda batch: beam_search(*space, batch, BEAMS, "trie")),
        f"frontier, top {TOP}, trie": (
            size.batch,
            size.rows,
            lambda batch: frontier_search(*space, batch, TOP, "trie"),
        ),
    }
    rows = []
    for name, (batch, count, work) in sides.items():
        work(prompts[:batch])  # what is made once is not counted
        done = asked.measure(lambda batch=batch, count=count, work=work: decode_for(work, prompts[:count], batch, size))
        rate = done.result / done.seconds
        rows.append(f"{name} | {rate:,.2f} | {done.memory:,.0f} | {done.result:,} rows, batches of {batch}")
    return rows


def decode_for(work: Callable, prompts: list[list[int]], batch: int, size: Size) -> int:
    """Batches until the time is over -> prompts that were answered."""
    begin, stop = time.perf_counter(), 0
    for start in range(0, len(prompts), batch):
        work(prompts[start : start + batch])
        stop = min(start + batch, len(prompts))
        if time.perf_counter() - begin > size.seconds:
            break
    return stop


def measure_parity(asked: Asked) -> list[str]:
    """The device's lists beside a CPU's, both in float32; what bfloat16 leaves of the first ten."""
    prompts = make_prompts(asked.base, asked.size.parity_rows)
    here = find_lists(asked, torch.float32, asked.device, prompts)
    there = find_lists(asked, torch.float32, "cpu", prompts)
    rounded = find_lists(asked, torch.bfloat16, asked.device, prompts)
    rows = []
    for name, lists in there.items():
        same = np.mean([equal(mine, other, "float32") for mine, other in zip(here[name], lists, strict=True)])
        pairs = zip(rounded[name], lists, strict=True)
        kept = np.mean([len({*list(mine)[:TOP]} & {*list(other)[:TOP]}) / TOP for mine, other in pairs])
        rows.append(
            f"{name} | | | {same:.1%} of {len(lists)} lists a CPU's; bfloat16 keeps {kept:.1%} of the top {TOP}"
        )
    return rows


def find_lists(asked: Asked, dtype: torch.dtype, device: str, prompts: list[list[int]]) -> dict[str, list]:
    """{search: one {item: score} a prompt}."""
    space = (asked.model(dtype, device), asked.trie(device), asked.sids(device))
    leaf, score = beam_search(*space, prompts, BEAMS, "trie")
    found = frontier_search(*space, prompts, TOP, "trie")
    item = space[1].item
    return {f"{BEAMS} beams": ranked(item[leaf], score), "frontier": ranked(item[found.leaf], found.score)}


def measure_server(asked: Asked) -> list[str]:
    """`genrec serve` of a model of this shape under closed loops of clients: benchmarks/serve.py's lines."""
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        call_genrec("run", "--config", "tiny", "--run.dir", str(run), "--last", "sft", "--yes", *shop_flags(asked))
        load = ["--seconds", f"{asked.size.seconds / 2:g}", "--requests", "64", "--clients", "1", "32", "--shares"]
        printed = call_python(str(ROOT / "benchmarks" / "serve.py"), "--run", str(run), *load)
    memory = printed.rpartition("memory ")[2].partition(" ")[0]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if "closed" in line]
    return [
        f"{name} at a time | {rate} | {memory} | p50 {p50} ms, p99 {p99} ms, {refused} refused, {failed} failed"
        for name, rate, p50, _, p99, refused, failed, *_ in lines
    ]


def shop_flags(asked: Asked) -> list[str]:
    """A model of this width and blocks (a key for each head) after a step or two, of the toy shop."""
    shape = SHAPES[asked.size.shape][1]
    scratch = {
        "hidden_size": shape["hidden_size"],
        "intermediate_size": shape["intermediate_size"],
        "num_layers": shape["num_hidden_layers"],
        "num_heads": shape["num_attention_heads"],
    }
    flags = [word for name, value in scratch.items() for word in (f"--sft.scratch.{name}", str(value))]
    trained = {"num_epochs": "0.01", "tasks": "{sid_to_sid: 1}", "valid_size": "16", "normalization": "trie"}
    flags += [word for name, value in trained.items() for word in (f"--sft.{name}", value)]
    return [*flags, "--run.device", asked.device, "--evaluation.normalization", "trie"]


def call_genrec(*words: str) -> str:
    return call_python("-m", "genrec", *words)


def call_python(*words: str) -> str:
    done = subprocess.run([sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:  # it has said why
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}")
    return done.stdout


# A further part is a function that returns rows, and a line here.
PARTS: dict[str, Callable[[Asked], list[str]]] = {
    "sft": measure_sft,
    "rl": measure_rl,
    "decoding": measure_decoding,
    "parity": measure_parity,
    "server": measure_server,
}


if __name__ == "__main__":
    main()

"""What computes a beam search of 50 beams how fast: torch in float32 and bfloat16, and the graphs of `genrec export`.

    python benchmarks/export.py --width 64 --layers 2 --requests 64
    python benchmarks/export.py --width 896 --layers 2 --requests 4

Random weights of Qwen2's form at a width (the feed-forward layer and the heads as Qwen2.5-0.5B has them to its width of
896), a vocabulary of 2,000 words, 3,686 items of 3 x 256 codes, prompts of about 100 tokens. CPU milliseconds a
request, medians of rounds in turn, and how far the best ten agree with torch in float32. A few layers tell the ratio of
many.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.decode import BEAMS, CODES, LEVELS, make_catalogue, make_prompts
from benchmarks.measuring import in_turn, medians, timed
from genrec.artifacts import HEAD
from genrec.models.array_beam import Search, SidIds, array_beam_search
from genrec.models.beam import SidVocabulary, beam_search
from genrec.models.exported import GRAPHS
from genrec.models.onnx_export import write_graph, write_head, write_int4, write_int8
from genrec.models.onnx_graph import Graph
from genrec.models.ranges import build_ranges
from genrec.models.trie import build_trie

WORDS, FIRST = 2000, tuple(CODES * level for level in range(LEVELS))
Side = Callable[[list[list[int]]], np.ndarray]  # prompts -> (B, K) leaves


def main() -> None:
    options = parse()
    torch.manual_seed(0)
    model, prompts = make_model(options.width, options.layers), make_prompts(WORDS, options.requests)
    with tempfile.TemporaryDirectory() as place:
        write_head(model, Path(place))
        write_graph(model, Path(place), "benchmark")
        write_int8(Path(place))
        write_int4(Path(place))
        sides = {"torch float32": torch_side(model)} | graph_sides(Path(place))
        sizes = {name: measure_size(Path(place) / file) for name, file in GRAPHS.items()}
        half = Qwen2ForCausalLM._from_config(model.config, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
        half.load_state_dict(model.state_dict())
        sides["torch bfloat16"] = torch_side(half)
        report(sides, sizes, prompts, options)


def make_model(width: int, layers: int) -> Qwen2ForCausalLM:
    heads = max(width // 64, 4)
    config = Qwen2Config(
        vocab_size=WORDS + LEVELS * CODES, hidden_size=width, intermediate_size=round(width * 4864 / 896 / 8) * 8,
        num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=2 - heads % 2,
        tie_word_embeddings=True, initializer_range=0.05,
    )  # fmt: skip
    return Qwen2ForCausalLM._from_config(config, attn_implementation="sdpa").eval()


def torch_side(model: Qwen2ForCausalLM) -> Side:
    trie = build_trie(make_catalogue())
    sids = SidVocabulary(torch.arange(WORDS, WORDS + LEVELS * CODES), FIRST, (CODES,) * LEVELS)
    return lambda prompts: beam_search(model, trie, sids, prompts, BEAMS, "trie")[0].numpy()


def graph_sides(place: Path) -> dict[str, Side]:
    sids = SidIds(np.arange(WORDS, WORDS + LEVELS * CODES), FIRST, (CODES,) * LEVELS)
    head, ranges = np.load(place / HEAD, allow_pickle=False), build_ranges(make_catalogue())

    def side(file: str) -> Side:
        search = Search(Graph(place / file, "benchmark"), head, ranges, sids, BEAMS, "trie")
        return lambda prompts: array_beam_search(search, prompts)[0]

    return {name: side(file) for name, file in GRAPHS.items()}


def measure_size(path: Path) -> float:
    """MiB."""
    return sum(file.stat().st_size for file in (path, path.with_name(f"{path.name}.data"))) / 2**20


def report(sides: dict[str, Side], sizes: dict[str, float], prompts: list[list[int]], options) -> None:
    batches = [prompts[start : start + options.batch] for start in range(0, len(prompts), options.batch)]
    lists = {name: np.concatenate([side(batch) for batch in batches])[:, :10] for name, side in sides.items()}
    work = {
        name: lambda side=side: timed(lambda: [side(batch) for batch in batches]).cpu for name, side in sides.items()
    }
    seconds = medians(in_turn(work, options.rounds))
    print(f"width {options.width}, {options.layers} layers, {len(prompts)} requests in batches of {options.batch}")
    print("| backend | CPU ms a request | times torch float32 | top 10 | graph, MiB |\n|---|---|---|---|---|")
    for name, value in seconds.items():
        pairs = zip(lists["torch float32"], lists[name], strict=True)
        same = np.mean([len(set(one.tolist()) & set(other.tolist())) / 10 for one, other in pairs])
        size = f"{sizes[name]:.1f}" if name in sizes else ""
        times = seconds["torch float32"] / value
        print(f"| {name} | {value / len(prompts) * 1e3:.1f} | {times:.2f} | {same:.1%} | {size} |")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=64, help="hidden_size; 896 is that of Qwen2.5-0.5B")
    parser.add_argument("--layers", type=int, default=2, help="transformer blocks; 24 are those of Qwen2.5-0.5B")
    parser.add_argument("--requests", type=int, default=16, help="prompts to answer")
    parser.add_argument("--batch", type=int, default=16, help="prompts a batch")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds of each, in turn; medians are printed")
    return parser.parse_args()


if __name__ == "__main__":
    main()

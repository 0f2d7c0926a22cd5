"""Beam search on the token tree against `model.generate` with a prefix-dictionary processor, in one process.

    python benchmarks/decode.py --shape quickstart --requests 32
    python benchmarks/decode.py --shape 0.5b --requests 2 --dtype bfloat16

Random weights, 3,686 items of 3 x 256 codes, prompts of about 100 tokens, 50 beams. Prints whether the lists are the
same (items whose scores differ by less than 1e-5 may swap), requests a second of both, their ratio, and how far
the engine is from its floor: the arithmetic of one prompt pass and two levels of 50 tokens, over the
matrix-multiplication rate measured just before.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import LogitsProcessor, LogitsProcessorList, Qwen2Config, Qwen2ForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import in_turn, medians, timed
from benchmarks.shapes import HALF_B, HALF_B_VOCABULARY
from genrec.models.beam import SidVocabulary, beam_search
from genrec.models.trie import build_trie
from genrec.sids import SidIndex, make_index

LEVELS, CODES, ITEMS, BEAMS = 3, 256, 3686, 50
SHAPES = {  # text vocabulary, then Qwen2Config
    "quickstart": (2000, {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2,
                          "num_attention_heads": 4, "num_key_value_heads": 4}),
    "0.5b": (HALF_B_VOCABULARY, HALF_B),
}  # fmt: skip


class PrefixDictionary(LogitsProcessor):
    """The field's way: a Python dictionary from prefix to legal tokens, looked up beam by beam."""

    def __init__(self, index: SidIndex, base: int, prompt_width: int):
        self.prompt_width = prompt_width
        self.legal: dict[tuple[int, ...], set[int]] = {}
        for row in index.codes.tolist():
            tokens = [base + CODES * level + code for level, code in enumerate(row)]
            for depth, token in enumerate(tokens):
                self.legal.setdefault(tuple(tokens[:depth]), set()).add(token)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.float().log_softmax(-1)
        mask = torch.full_like(scores, -torch.inf)
        for row in range(len(input_ids)):
            mask[row, list(self.legal.get(tuple(input_ids[row, self.prompt_width :].tolist()), ()))] = 0
        return scores + mask


def main() -> None:
    options = parse()
    torch.manual_seed(0)
    base, shape = SHAPES[options.shape]
    vocab = base + LEVELS * CODES
    config = Qwen2Config(vocab_size=vocab, tie_word_embeddings=True, **shape)
    model = Qwen2ForCausalLM._from_config(config, attn_implementation="sdpa").to(getattr(torch, options.dtype)).eval()
    index, prompts = make_catalogue(), make_prompts(base, options.requests)
    sids = SidVocabulary(torch.arange(base, vocab), tuple(CODES * level for level in range(LEVELS)), (CODES,) * LEVELS)
    trie = build_trie(index)

    def ours() -> list[dict[int, float]]:
        found = []
        for start in range(0, len(prompts), options.batch):
            leaves, scores = beam_search(model, trie, sids, prompts[start : start + options.batch], BEAMS)
            found += ranked(trie.item[leaves], scores)
        return found

    width = max(map(len, prompts))
    processor = PrefixDictionary(index, base, width)
    item_of = {tuple(row): item for item, row in enumerate(index.codes.tolist())}

    def theirs() -> list[dict[int, float]]:
        found = []
        for start in range(0, len(prompts), options.generate_batch):
            tokens, scores = generate(model, prompts[start : start + options.generate_batch], width, processor)
            codes = (tokens - base - CODES * torch.arange(LEVELS)).tolist()
            found += ranked(torch.tensor([[item_of[tuple(row)] for row in beams] for beams in codes]), scores)
        return found

    same = np.mean([equal(mine, other, options.dtype) for mine, other in zip(ours(), theirs(), strict=True)])
    sides = {"token tree": lambda: timed(ours).wall, "model.generate": lambda: timed(theirs).wall}
    fast, slow = medians(in_turn(sides, options.rounds)).values()
    floor = len(prompts) * arithmetic(config, np.mean([len(p) for p in prompts])) / matmul_rate(config, model.dtype)
    print(f"{options.shape} {options.dtype}, {len(prompts)} prompts of {np.mean([len(p) for p in prompts]):.0f} tokens")
    print(f"  same ranked list of {BEAMS}: {same:.1%}")
    print(f"  token tree        {len(prompts) / fast:8.2f} requests/s")
    print(f"  model.generate    {len(prompts) / slow:8.2f} requests/s")
    print(f"  ratio             {slow / fast:8.1f}")
    print(f"  time over floor   {fast / floor:8.2f}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="quickstart")
    parser.add_argument("--requests", type=int, default=32, help="prompts to answer")
    parser.add_argument("--batch", type=int, default=16, help="prompts a batch of the token tree")
    parser.add_argument("--generate_batch", type=int, default=4, help="prompts a batch of model.generate")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds of each, in turn; medians are printed")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    return parser.parse_args()


def make_catalogue() -> SidIndex:
    space = np.random.default_rng(0).choice(CODES**LEVELS, size=ITEMS, replace=False)
    return make_index(np.stack(np.unravel_index(space, (CODES,) * LEVELS), axis=1), (CODES,) * LEVELS)


def make_prompts(base: int, count: int) -> list[list[int]]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, base, size=length).tolist() for length in rng.integers(80, 121, size=count)]


def generate(model, prompts: list, width: int, processor: LogitsProcessor) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, BEAMS, LEVELS) token ids and (B, BEAMS) scores."""
    ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    out = model.generate(
        input_ids=ids, attention_mask=mask, num_beams=BEAMS, num_return_sequences=BEAMS, do_sample=False,
        max_new_tokens=LEVELS, min_new_tokens=LEVELS, length_penalty=0.0, pad_token_id=0, eos_token_id=None,
        logits_processor=LogitsProcessorList([processor]), return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    return out.sequences[:, width:].view(len(prompts), BEAMS, LEVELS), out.sequences_scores.view(len(prompts), BEAMS)


def ranked(items: torch.Tensor, scores: torch.Tensor) -> list[dict[int, float]]:
    """One {item: score} a prompt, best first."""
    return [dict(zip(row, value, strict=True)) for row, value in zip(items.tolist(), scores.tolist(), strict=True)]


def equal(mine: dict[int, float], other: dict[int, float], dtype: str) -> bool:
    """Same scores rank by rank, and same items but for near-ties; bfloat16 rounds away more than float32."""
    near = 1e-5 if dtype == "float32" else 5e-2
    pairs = zip(mine.items(), other.items(), strict=True)
    return all(abs(a - b) < 10 * near and (i == j or abs(a - b) < near) for (i, a), (j, b) in pairs)


def arithmetic(config: Qwen2Config, prompt: float) -> float:
    """Operations of one request: blocks over prompt and beam tokens, the head once and for two levels of beams."""
    width, head = config.hidden_size, config.hidden_size // config.num_attention_heads
    attention = 2 * width * width + 2 * width * head * config.num_key_value_heads
    block = attention + 3 * width * config.intermediate_size
    beams = (LEVELS - 1) * BEAMS
    return 2 * (config.num_hidden_layers * block * (prompt + beams) + width * config.vocab_size * (1 + beams))


def matmul_rate(config: Qwen2Config, dtype: torch.dtype) -> float:
    """Operations a second of the feed-forward product at a batch of 1,024 tokens; best of ten."""
    left = torch.randn(1024, config.hidden_size).to(dtype)
    right = torch.randn(config.hidden_size, config.intermediate_size).to(dtype)
    best = float("inf")
    for _ in range(10):
        best = min(best, timed(lambda: left @ right).wall)
    return 2 * left.shape[0] * left.shape[1] * right.shape[1] / best


if __name__ == "__main__":
    main()

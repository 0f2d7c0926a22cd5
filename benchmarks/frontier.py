"""Lists proven by a frontier against beams, in turn in one process; on a run's model, or on catalogues of any size.

    python benchmarks/frontier.py --run outputs/quickstart
    python benchmarks/frontier.py --items 3700 1000000 --scale 2
    python benchmarks/frontier.py --items 3700 --shape 0.5b --requests 4 --rounds 1

Without a run the weights are random, the catalogue is of 4 x 256 seeded codes, and `--scale` is
the standard deviation of the logits; their mean entropy over the codes of the first level is printed.
Prints medians of the wall and CPU time of a request, and of the prefixes that were read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.decode import SHAPES, make_prompts
from benchmarks.measuring import in_turn, timed
from genrec.models.beam import SidVocabulary, beam_search, read_prompts
from genrec.models.frontier import frontier_search
from genrec.models.trie import Trie, build_trie
from genrec.sids import make_index

LEVELS, CODES, BEAMS = 4, 256, 50


@dataclass(frozen=True)
class Asked:
    """A model, its catalogue, and the prompts that it is asked."""

    model: PreTrainedModel
    trie: Trie
    sids: SidVocabulary
    prompts: list[list[int]]
    normalization: str


def main() -> None:
    options = parse()
    if options.run:
        asked = {str(options.run): load_run(options.run, options.requests)}
    else:
        asked = {f"{items:,} items": make_asked(options, items) for items in options.items}
    sides = {}
    for name, one in asked.items():
        sides[f"{name}: {BEAMS} beams"] = lambda one=one: search(options, one, by_beams(one))
        sides[f"{name}: frontier"] = lambda one=one: search(options, one, by_frontier(one, options.k))
        sides[f"{name}: prompts alone"] = lambda one=one: search(options, one, lambda p: read_prompts(one.model, p))
    found = in_turn({side: lambda work=work: timed(work) for side, work in sides.items()}, options.rounds)
    for side, times in found.items():
        wall, cpu = (
            np.median([getattr(time, clock) for time in times]) / options.requests for clock in ("wall", "cpu")
        )
        print(f"{side:40} {wall * 1e3:9.2f} ms wall {cpu * 1e3:9.2f} ms CPU a request{times[0].result}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a finished run, whose language model is asked for its users")
    parser.add_argument("--items", type=int, nargs="+", default=[3700], help="catalogues of this many items")
    parser.add_argument("--scale", type=float, default=2.0, help="standard deviation of the logits")
    parser.add_argument("--shape", choices=SHAPES, default="quickstart")
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--k", type=int, default=10)
    return parser.parse_args()


def load_run(run: Path, requests: int) -> Asked:
    import genrec

    shop = genrec.load(run, device="cpu")
    generative = shop.language_model()
    model, users = generative.model, shop.all_users()
    rows = users.take(0, min(requests, len(users)))
    prompts = sorted(model.prompts(rows.examples(shop.max_history, None)), key=len)[::-1]
    return Asked(model.model.eval(), model.trie, model.sids, prompts, generative.decoding.normalization)


def make_asked(options: argparse.Namespace, items: int) -> Asked:
    torch.manual_seed(0)
    base, shape = SHAPES[options.shape]
    vocab = base + LEVELS * CODES
    model = Qwen2ForCausalLM._from_config(Qwen2Config(vocab_size=vocab, tie_word_embeddings=True, **shape)).eval()
    sids = SidVocabulary(torch.arange(base, vocab), tuple(CODES * level for level in range(LEVELS)), (CODES,) * LEVELS)
    prompts = make_prompts(base, options.requests)
    entropy = set_spread(model, sids, prompts[:8], options.scale)
    print(f"{items:,} items: entropy over the {CODES} codes of the first level {entropy:.2f} nats")
    space = np.random.default_rng(0).choice(CODES**LEVELS, size=items, replace=False, shuffle=False)
    index = make_index(np.stack(np.unravel_index(space, (CODES,) * LEVELS), axis=1), (CODES,) * LEVELS)
    return Asked(model, build_trie(index), sids, prompts, "trie")


@torch.no_grad()
def set_spread(model: PreTrainedModel, sids: SidVocabulary, prompts: list[list[int]], spread: float) -> float:
    """The logits of SID tokens get this standard deviation; mean entropy over the codes of the first level."""

    def logits() -> torch.Tensor:
        return read_prompts(model, prompts)[1] @ model.lm_head.weight[sids.token].T

    model.model.norm.weight *= spread / logits().std()
    first = logits()[:, : sids.sizes[0]].log_softmax(-1)
    return float(-(first.exp() * first).sum(-1).mean())


def by_beams(asked: Asked) -> Callable:
    space = (asked.model, asked.trie, asked.sids)
    return lambda prompts: beam_search(*space, prompts, BEAMS, asked.normalization)


def by_frontier(asked: Asked, k: int) -> Callable:
    space = (asked.model, asked.trie, asked.sids)
    return lambda prompts: frontier_search(*space, prompts, k, asked.normalization)


@torch.inference_mode()
def search(options: argparse.Namespace, asked: Asked, work: Callable) -> str:
    """All prompts, a batch at a time; what a frontier read, in words."""
    starts = range(0, len(asked.prompts), options.batch)
    answers = [work(asked.prompts[start : start + options.batch]) for start in starts]
    if not hasattr(answers[0], "reads"):
        return ""
    reads = torch.cat([answer.reads for answer in answers]).float()
    proven = float(torch.cat([answer.exact for answer in answers]).float().mean())
    return f"; reads {reads.median():.0f}, most {reads.max():.0f}, proven {proven:.1%}"


if __name__ == "__main__":
    main()

"""A language model that recommends: prompts in, ranked items out, by constrained beam search over the catalogue.

E examples, k cut-off, K beams
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genrec import artifacts
from genrec.artifacts import ArtifactError
from genrec.config import Config
from genrec.data.catalog import Catalog
from genrec.data.prompts import Encoder, prompt_fingerprint
from genrec.data.sequences import Examples, Sequences
from genrec.data.tasks import RECOMMEND, Texts
from genrec.evaluation.metrics import Recommendations
from genrec.models.beam import NEVER, beam_search
from genrec.models.device import pick_device
from genrec.models.language import load_pretrained, sid_vocabulary
from genrec.models.trie import build_trie, keep_only
from genrec.sids import SidIndex, load_index, save_index

CARD = "genrec.json"  # in a model directory: what the model was trained on


@dataclass(frozen=True)
class Card:
    """What must match when a model directory meets a catalogue."""

    sids: str  # fingerprint of the sids artifact
    prompts: str  # prompts.prompt_fingerprint()
    source: str  # data.source
    cutoff_len: int


class GenerativeModel:
    """A language model, its tokenizer and the SIDs it answers in."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Texts, cutoff_len: int):
        self.model = model
        self.texts = texts
        self.cutoff_len = cutoff_len
        self.encoder = Encoder(tokenizer)
        self.trie = build_trie(texts.index).to(model.device)
        sids = sid_vocabulary(tokenizer, texts.index)
        self.sids = sids.to(model.device)
        self.under = self.trie.under[-1].cpu().numpy()  # items of leaf i are item[under[i]:under[i + 1]]
        self.item = self.trie.item.cpu().numpy()

    def prompts(self, histories: np.ndarray) -> list[list[int]]:
        """(E, H) item numbers -> token ids of each prompt."""
        texts = (self.texts.prompt(RECOMMEND, history) for history in histories)
        return [self.encoder.prompt(prompt, self.cutoff_len) for prompt in texts]

    def recommend(
        self,
        examples: Examples,
        k: int,
        num_beams: int | None = None,
        batch_size: int = 16,
        normalisation: str = "vocab",
        allowed: np.ndarray | None = None,
        progress: bool = False,
    ) -> Recommendations:
        """The best k items of each example; `allowed` (N,) bool leaves items out of the trie for this call."""
        prompts = self.prompts(examples.history)
        kept = None if allowed is None else keep_only(self.trie, torch.from_numpy(allowed).to(self.model.device))
        item = np.full((len(prompts), k), -1, dtype=np.int32)
        score = np.full((len(prompts), k), -np.inf, dtype=np.float32)
        order = np.argsort(
            [-len(prompt) for prompt in prompts], kind="stable"
        )  # longest first: memory is known at once
        self.model.eval()
        with tqdm(total=len(prompts), desc="recommend", unit="row", disable=not progress) as bar:
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                batch = [prompts[row] for row in rows]
                leaves, scores = beam_search(
                    self.model, self.trie, self.sids, batch, num_beams or k, normalisation, kept
                )
                for row, leaf, value in zip(rows, leaves.cpu().numpy(), scores.float().cpu().numpy(), strict=True):
                    item[row], score[row] = self.items_of(leaf, value, k, allowed)
                bar.update(len(rows))
        return Recommendations(item, score)

    def items_of(
        self, leaf: np.ndarray, score: np.ndarray, k: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Leaves (K,) of one example -> its k items and scores, ties by item number; -1 and -inf past the last."""
        leaf, score = leaf[score > NEVER / 2], score[score > NEVER / 2]
        start, stop = self.under[leaf], self.under[leaf + 1]
        items = np.concatenate([self.item[a:b] for a, b in zip(start, stop, strict=True)] or [np.zeros(0, np.int64)])
        scores = np.repeat(score, stop - start)
        if allowed is not None:
            items, scores = items[allowed[items]], scores[allowed[items]]
        order = np.lexsort([items, -scores])[:k]
        short = k - len(order)
        return np.pad(items[order], (0, short), constant_values=-1), np.pad(
            scores[order], (0, short), constant_values=-np.inf
        )


class Recommender:
    """A GenerativeModel with the settings of one evaluation, behind the face all families share."""

    def __init__(self, model: GenerativeModel, num_beams: int, batch_size: int, normalisation: str):
        self.model = model
        self.settings = {"num_beams": num_beams, "batch_size": batch_size, "normalisation": normalisation}

    def recommend(self, examples: Examples, k: int) -> Recommendations:
        return self.model.recommend(examples, k, progress=True, **self.settings)


def save_card(directory: Path, card: Card, index: SidIndex) -> None:
    artifacts.write_json(directory / CARD, asdict(card))
    save_index(index, directory / artifacts.SID_INDEX)


def load_card(directory: Path) -> Card:
    path = directory / CARD
    if not path.exists():
        raise ArtifactError(f"{directory} is not a model of this project: it has no {CARD}; make one with sft.py")
    return Card(**json.loads(path.read_text(encoding="utf-8")))


def check_card(directory: Path, card: Card, config: Config) -> None:
    """A model meets the run it is used in: same SIDs, same prompts, same data source, or an error with both values."""
    sids = artifacts.require(config.run.dir / "sids", "rq/generate_indices.py")
    pairs = {
        "sids": (card.sids, sids.fingerprint),
        "prompts": (card.prompts, prompt_fingerprint()),
        "data.source": (card.source, config.data.source),
    }
    for name, (trained, here) in pairs.items():
        if trained != here:
            raise ArtifactError(
                f"{directory} was trained with {name} {trained}, but this run has {here}; "
                "use the run it was trained in (--run.dir) or train it anew (python sft.py --clean)"
            )


def load_generative(model_dir: Path, config: Config, catalog: Catalog, sequences: Sequences) -> Recommender:
    """A model directory -> something that recommends under the settings of `evaluate`."""
    card = load_card(model_dir)
    check_card(model_dir, card, config)
    device = pick_device(config.run.device)
    dtype = torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    model, tokenizer = load_pretrained(str(model_dir), dtype)
    texts = Texts(catalog, load_index(model_dir / artifacts.SID_INDEX), card.source)
    generative = GenerativeModel(model.to(device), tokenizer, texts, card.cutoff_len)
    settings = config.evaluate
    return Recommender(generative, settings.num_beams, settings.batch_size, settings.normalisation)

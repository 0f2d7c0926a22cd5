"""An export of a language model, answered by ONNX Runtime: neither torch nor transformers is imported.

E examples, k cut-off, K beams, P items that a row may not get
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from genrec import artifacts
from genrec.artifacts import EXPORT, HEAD
from genrec.config import Evaluation
from genrec.data.lists import items_of_leaves, order_longest_first
from genrec.data.prompts import Encoder
from genrec.data.sequences import Examples
from genrec.data.shop import Shop
from genrec.errors import ArtifactError, ConfigError, first_line, suggest
from genrec.evaluation.metrics import Recommendations
from genrec.models.array_beam import NEVER, Open, Search, SidIds, array_beam_search
from genrec.models.card import Card, load_own_texts
from genrec.models.cold_items import ColdItems
from genrec.models.onnx_graph import INSTALL, Graph
from genrec.models.ranges import build_ranges
from genrec.models.sid_prompts import SidPrompts, SidTokens
from genrec.sids import SidIndex

GRAPHS = {"onnx": "step.onnx", "onnx-int8": "step_int8.onnx", "onnx-int4": "step_int4.onnx"}  # backend -> its graph


@dataclass(frozen=True)
class Export:
    """What an export says of itself, in export.json."""

    stage: str  # sft | rl
    model: str  # fingerprint of the model directory it was made from
    opset: Annotated[int, Field(ge=1)]  # of the graphs
    files: dict[str, dict[str, int]]  # backend -> {file: bytes}


def load_export(directory: Path) -> Export:
    if not (directory / EXPORT).exists():
        raise ArtifactError(
            f"{directory} is no export: it has no {EXPORT}; make one of a run by `genrec export --run.dir RUN`"
        )
    return artifacts.read_record(directory / EXPORT, Export, "make the export anew (genrec export --clean)")


def check_backend(directory: Path, export: Export, backend: str) -> list[str]:
    """The files of a backend that the export has, all of them as long as they were written; or one line."""
    if backend not in export.files:
        raise ConfigError(
            f"{directory} has no backend '{backend}'{suggest(backend, export.files)}; it has {', '.join(export.files)}"
        )
    for name, size in export.files[backend].items():
        path = directory / name
        if not path.is_file():
            raise ArtifactError(f"{directory} lacks {name}, which backend {backend} reads; get its files again")
        if path.stat().st_size != size:
            raise ArtifactError(f"{path} has {path.stat().st_size:,} bytes, {EXPORT} says {size:,}; get it again")
    return list(export.files[backend])


class PlainTokenizer:
    """tokenizer.json by the library `tokenizers` alone."""

    def __init__(self, path: Path):
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise ConfigError(f"an export needs the package tokenizers, which is not installed; {INSTALL}") from None
        try:
            self.tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises Exception itself
            raise ArtifactError(f"{path} cannot be read: {first_line(error)}; get it again") from None
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    def sid_ids(self, index: SidIndex) -> SidIds:
        """The token id of every SID token."""
        ids = {text: self.tokenizer.token_to_id(text) for text in index.tokens()}
        if unknown := [text for text, number in ids.items() if number is None]:
            raise ArtifactError(f"the tokenizer does not know {unknown[0]} and {len(unknown) - 1} other SID tokens")
        return SidIds(np.array(list(ids.values())), tuple(index.first_token().tolist()), index.sizes)


@dataclass(frozen=True)
class ExportedRecommender:
    """An export with the settings of its lists, behind the face that all families share."""

    prompts: SidPrompts
    index: SidIndex
    search: Search
    batch_size: int
    cold_items: ColdItems | None = None

    def widen(self, k: int) -> ExportedRecommender:
        """The same with at least k beams, so that k items can be found."""
        return replace(self, search=replace(self.search, num_beams=max(self.search.num_beams, k)))

    def recommend(self, examples: Examples, k: int) -> Recommendations:
        """The best k items of each example, without those in `excluded`."""
        lists = self.search_lists(examples, k)
        return lists if self.cold_items is None else self.cold_items.mix(lists, examples, None)

    def search_lists(self, examples: Examples, k: int) -> Recommendations:
        """Those that the model gives."""
        prompts = self.prompts.make(examples.history, examples.user)
        item = np.full((len(prompts), k), -1, dtype=np.int32)
        score = np.full((len(prompts), k), -np.inf, dtype=np.float32)
        order, ranges = order_longest_first(prompts), self.search.ranges
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            excluded = examples.take(rows).excluded
            denied = np.full((len(rows), 0), -1) if excluded is None else excluded.items()  # (B, P)
            only = self.close(denied) if denied.shape[1] else None
            leaves, scores = array_beam_search(self.search, [prompts[row] for row in rows], only)
            if np.isnan(scores).any():
                raise ArtifactError("the export gives scores that are no numbers; make it anew (genrec export --clean)")
            for row, leaf, value, without in zip(rows, leaves, scores, denied, strict=True):
                listed = value > NEVER / 2
                item[row], score[row] = items_of_leaves(
                    leaf[listed], value[listed], ranges.under[-1], ranges.item, k, without
                )
        return Recommendations(item, score)

    def close(self, denied: np.ndarray) -> Open:
        """(B, P) items, -1 none -> what is left of the catalogue for each row."""
        place = self.search.ranges.place
        return Open(tuple(np.sort(place[row[row >= 0]]) for row in denied))


def load_exported(directory: Path, card: Card, shop: Shop, settings: Evaluation, backend: str) -> ExportedRecommender:
    """An export's directory, whose card's files were checked -> what recommends by one of its graphs."""
    export = load_export(directory)
    check_backend(directory, export, backend)
    texts = load_own_texts(directory, card, shop)
    index, tokenizer = texts.index, PlainTokenizer(directory / "tokenizer.json")
    sids = tokenizer.sid_ids(index)
    head = np.load(directory / HEAD, mmap_mode="r", allow_pickle=False)
    if head.ndim != 2 or sids.token.max() >= len(head):
        raise ArtifactError(f"{directory / HEAD} has rows {head.shape}, the SIDs reach to {sids.token.max()}")
    graph = Graph(directory / GRAPHS[backend], export.model)
    prompts = SidPrompts(texts, SidTokens(index, sids), Encoder(tokenizer), card.cutoff_len)
    search = Search(graph, head, build_ranges(index), sids, settings.num_beams, settings.normalization)
    return ExportedRecommender(prompts, index, search, settings.batch_size)

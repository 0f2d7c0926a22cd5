"""Recommending: queries and candidates -> one vector each, the ten candidates with the highest inner product.

Because every similarity is an inner product of the widened vectors (tencentgr.similarity), the index searches for
exactly what training scored.

Q queries, C candidates, w widened width, k list length
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import torch

from genrec.artifacts import whole_file, write_json, write_text
from genrec.errors import ArtifactError
from genrec.launch import note
from genrec.lock import only_writer
from genrec.runtime.device import pick_device
from tencentgr import files
from tencentgr.assembly import read_data, shape_of, source_of
from tencentgr.checkpoints import load_model
from tencentgr.dataset import (
    Candidates,
    SequenceDataset,
    TencentGRData,
    all_items,
    all_rows,
    load_candidates,
    load_queries,
    report_lines,
)
from tencentgr.ensemble import join_vectors
from tencentgr.features import restrict
from tencentgr.model import TencentGR
from tencentgr.options import TencentGROptions
from tencentgr.ranking import encode_items, encode_queries
from tencentgr.reads import list_ignored
from tencentgr.seen_items import SeenItems, find_seen, leaves_out_seen

BLOCK = 4096  # queries searched at once where their lists are cut afterwards
NO_ID = np.uint64(2**64 - 1)  # in the file of neighbours, where a list has ended
TOP, FOUND = 10, 100  # recommended items, and how many the file of neighbours holds
QUERIES, ITEMS, ITEM_IDS, NEIGHBOURS = "query.fbin", "embedding.fbin", "id.u64bin", "id100.u64bin"
NAMES, RESULT = "retrive_id2creative_id.json", "result.jsonl"  # the competition's own spelling


def infer(options: TencentGROptions) -> None:
    """Ten items for each user of predict_seq.jsonl out of predict_set.jsonl, where the data directory has them;
    else for each user of the training data out of all items."""
    device = pick_device(options.device, "--device")
    if ignored := list_ignored(options):
        note("infer", f"not read here: {', '.join(ignored)}")
    queries, candidates = load_queries_and_candidates(options)
    for line in report_lines({**queries.report, **candidates.report}):
        note("data", line)
    paths = options.state_dict_path, *options.ensemble_with
    parts = [encode_by(path, options, device, queries, candidates) for path in paths]
    user_vectors, item_vectors = parts[0] if len(parts) == 1 else join_vectors(parts)
    neighbours = search(user_vectors, item_vectors, max(TOP, FOUND), choose_seen(options, queries, candidates))
    with only_writer(options.result_dir):
        write_results(options.result_dir, queries, candidates, user_vectors, item_vectors, neighbours)
    note("infer", f"{len(user_vectors):,} users, {len(item_vectors):,} candidates -> {options.result_dir / RESULT}")


def encode_by(
    path: Path, options: TencentGROptions, device: torch.device, queries: TencentGRData, candidates: Candidates
) -> tuple[np.ndarray, np.ndarray]:
    """(Q, w), (C, w) by one model."""
    model, card = load_model(path, shape_of(options), queries.schema)
    if card is None:
        note("infer", f"{path} holds weights alone; shape and features are taken from flags and data")
    user_vectors, item_vectors = encode(model.to(device), queries, candidates)
    check_vectors(path, users=user_vectors, candidates=item_vectors)
    return user_vectors, item_vectors


def choose_seen(options: TencentGROptions, queries: TencentGRData, candidates: Candidates) -> SeenItems | None:
    """What is left out of the lists, and a line that says why."""
    leaves_out, share = leaves_out_seen(options.filter_seen, queries)
    note(
        "infer",
        f"lists {'leave out' if leaves_out else 'may hold'} what a user had before: --filter_seen "
        f"{str(options.filter_seen).lower()}, {share:.1%} of the newest interactions repeat an earlier one",
    )
    return find_seen(queries, candidates) if leaves_out else None


def check_vectors(model: Path, **tables: np.ndarray) -> None:
    """An index over numbers that are none answers anything."""
    for name, vectors in tables.items():
        wrong = ~(np.abs(vectors) <= files.LARGEST).all(axis=1)
        if wrong.any():
            raise ArtifactError(
                f"{model} makes vectors beyond {files.LARGEST:.0e} of {wrong.sum():,} of {len(wrong):,} {name}; "
                "nothing can be recommended by it. Train it anew with a lower --learning_rate"
            )


def load_queries_and_candidates(options: TencentGROptions) -> tuple[TencentGRData, Candidates]:
    competition = options.source == "tencentgr"
    if not (competition and (options.data_dir / files.PREDICT_SEQ).exists()):
        data = read_data(options)
        return data, all_items(data)
    source = source_of(options)
    queries = load_queries(source)
    if not (options.data_dir / files.PREDICT_SET).exists():
        return queries, all_items(queries)
    candidates, schema = load_candidates(source)
    return queries, replace(candidates, table=restrict(candidates.table, schema, queries.schema, "item"))


@torch.no_grad()
def encode(model: TencentGR, queries: TencentGRData, candidates: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """(Q, w), (C, w) float32, from tables cut to what the model knows."""
    trimmed = queries.within(model.schema)
    rows = SequenceDataset(trimmed, all_rows(trimmed), model.shape.max_history, model.shape.time_features, query=True)
    users = encode_queries(model.use(trimmed.items, trimmed.users), rows)
    table = restrict(candidates.table, queries.schema, model.schema, "item")
    model.use(table, trimmed.users)
    items = encode_items(model, torch.arange(1, len(table), device=users.device))
    return users.cpu().numpy(), items.cpu().numpy()


def search(queries: np.ndarray, items: np.ndarray, k: int, seen: SeenItems | None = None) -> np.ndarray:
    """(Q, w), (C, w) -> (Q, k) candidates by falling inner product, exact, without the seen ones; -1 past the last."""
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(np.ascontiguousarray(items))
    queries = np.ascontiguousarray(queries)
    if seen is None:
        return index.search(queries, k)[1]
    blocks = range(0, len(queries), BLOCK)
    found = ((begin, index.search(queries[begin : begin + BLOCK], k + seen.most)[1]) for begin in blocks)
    return np.concatenate([seen.without(lists, begin, k, len(items)) for begin, lists in found])


def write_results(
    directory: Path, queries: TencentGRData, candidates: Candidates, user_vectors, item_vectors, neighbours
) -> None:
    """result.jsonl and the files of the competition's search program, for the same vectors."""
    directory.mkdir(parents=True, exist_ok=True)
    write_binary(directory / QUERIES, user_vectors.astype(np.float32))
    write_binary(directory / ITEMS, item_vectors.astype(np.float32))
    ids = candidates.retrieval_id.astype(np.uint64)
    write_binary(directory / ITEM_IDS, ids[:, None])
    listed = neighbours[:, : min(FOUND, len(ids))]
    write_binary(directory / NEIGHBOURS, np.where(listed >= 0, ids[listed], NO_ID))
    names = candidates.creative_id
    write_json(
        directory / NAMES, {str(number): name for number, name in zip(ids.tolist(), names.tolist(), strict=True)}
    )
    lines = [
        json.dumps({"user_id": user, "creative_ids": names[top[top >= 0]].tolist()})
        for user, top in zip(queries.user_id.tolist(), neighbours[:, :TOP], strict=True)
    ]
    write_text(directory / RESULT, "\n".join(lines) + "\n")


def write_binary(path: Path, values: np.ndarray) -> None:
    """Header (rows, columns) as two uint32, then the rows."""
    with whole_file(path) as file:
        file.write(np.array(values.shape, dtype=np.uint32).tobytes())
        file.write(np.ascontiguousarray(values).tobytes())

"""From what the flags say to what training and inference work with: data, model shape, loss, optimizer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from tencentgr.dataset import Data, Rows, load_data
from tencentgr.losses import Objective
from tencentgr.model import Shape, TencentGR
from tencentgr.negatives import Mix, NegativeSampler
from tencentgr.options import Options
from tencentgr.parts import Source, source_of
from tencentgr.runs import load_run

BETAS = {"adam": (0.9, 0.98), "adamw": (0.9, 0.95)}


def load(options: Options) -> Data:
    if options.source == "run":
        return load_run(options.run_dir, options.embeddings, options.semantic, options.semantic_prefixes)
    return load_data(files_of(options))


def files_of(options: Options) -> Source:
    """The competition's files."""
    places = options.data_dir, options.embeddings, options.cache_dir
    return source_of(*places, options.semantic, options.semantic_prefixes)


def shape_of(options: Options) -> Shape:
    kinds = tuple(options.similarity_types) if options.use_adaptive_similarity else (options.similarity,)
    return Shape(
        hidden=options.hidden_units,
        blocks=options.num_blocks,
        heads=options.num_heads,
        dropout=options.dropout_rate,
        maxlen=options.maxlen,
        norm_first=options.norm_first,
        rotary=options.rotary,
        gradient_checkpointing=options.gradient_checkpointing,
        user_id=options.use_user_id,
        action_type=options.use_action_type,
        time_features=options.time_features,
        similarity=kinds,
        adaptive=options.use_adaptive_similarity,
    )


def mix_of(options: Options) -> Mix:
    curriculum = options.curriculum_schedule if options.use_curriculum_learning else None
    return Mix(options.use_smart_sampling, curriculum, options.dynamic_candidates)


def make_objective(options: Options, model: TencentGR, data: Data, rows: Rows) -> Objective:
    user, item = interactions_of(data, rows)
    counts = torch.from_numpy(data.popularity(rows))
    sampler = NegativeSampler(counts, (user, item), len(data.sequences), mix_of(options), options.popularity_factor)
    return Objective(
        model,
        sampler,
        options.loss,
        options.num_negatives,
        options.temperature,
        options.learnable_temperature,
        options.l2_emb,
    )


def interactions_of(data: Data, rows: Rows) -> tuple[Tensor, Tensor]:
    """Sequence and item of every interaction that training sees, flat; what is held out is no part of it."""
    last = data.sequences.offset[:-1].copy()  # (S,) where training ends in each sequence
    np.maximum.at(last, rows.sequence, rows.stop)
    owner = np.repeat(np.arange(len(data.sequences)), np.diff(data.sequences.offset))
    seen = np.arange(len(owner)) < last[owner]
    seen &= data.sequences.item <= data.schema.num_items
    return torch.from_numpy(owner[seen]), torch.from_numpy(data.sequences.item[seen].astype(np.int64))


def make_optimizer(options: Options, objective: Objective) -> torch.optim.Optimizer:
    parameters, betas = list(objective.parameters()), BETAS[options.optimizer]
    if options.optimizer == "adamw":
        return torch.optim.AdamW(parameters, options.lr, betas, weight_decay=options.weight_decay)
    return torch.optim.Adam(parameters, options.lr, betas)


def fingerprint(data: Data) -> str:
    """A hash over the schema, the interactions and the items' features; vectors count by their width alone."""
    digest = hashlib.sha256(json.dumps(asdict(data.schema)).encode())
    for part in (data.sequences.offset, data.sequences.item, data.items.sparse, data.items.array, data.items.semantic):
        digest.update(b"" if part is None else np.ascontiguousarray(part))
    return digest.hexdigest()[:16]

"""From what the flags say to what training and inference work with: data, model shape, loss, optimizer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from tencentgr.dataset import SequenceRows, TencentGRData, load_data
from tencentgr.entries import CompetitionSource, locate_source
from tencentgr.losses import Objective
from tencentgr.model import TencentGR, TencentGRShape
from tencentgr.negatives import NegativeMix, NegativeSampler
from tencentgr.options import TencentGROptions
from tencentgr.runs import load_run

HASHED = 65_536  # vectors at once, so that those mapped from disk need not fit into memory
BETAS = {"adam": (0.9, 0.98), "adamw": (0.9, 0.95)}


def read_data(options: TencentGROptions) -> TencentGRData:
    if options.source == "run":
        return load_run(options.run_dir, options.embeddings, options.semantic, options.semantic_prefixes)
    return load_data(source_of(options))


def source_of(options: TencentGROptions) -> CompetitionSource:
    """The competition's files."""
    places = options.data_dir, options.embeddings, options.cache_dir
    return locate_source(*places, options.semantic, options.semantic_prefixes, options.semantic_files)


def shape_of(options: TencentGROptions) -> TencentGRShape:
    kinds = tuple(options.similarity_types) if options.use_adaptive_similarity else (options.similarity,)
    return TencentGRShape(
        hidden_size=options.hidden_size,
        num_layers=options.num_layers,
        num_heads=options.num_heads,
        dropout=options.dropout,
        max_history=options.max_history,
        norm_first=options.norm_first,
        rotary=options.rotary,
        gradient_checkpointing=options.gradient_checkpointing,
        user_id=options.use_user_id,
        action_type=options.use_action_type,
        time_features=options.time_features,
        similarity=kinds,
        adaptive=options.use_adaptive_similarity,
        fusion=options.fusion,
        cross_layers=options.cross_layers,
    )


def negative_mix_of(options: TencentGROptions) -> NegativeMix:
    curriculum = options.curriculum_schedule if options.use_curriculum_learning else None
    return NegativeMix(options.use_smart_sampling, curriculum, options.dynamic_candidates)


def make_objective(options: TencentGROptions, model: TencentGR, data: TencentGRData, rows: SequenceRows) -> Objective:
    user, item = interactions_of(data, rows)
    counts = torch.from_numpy(data.popularity(rows))
    popularity = options.popularity_factor, options.popularity
    sampler = NegativeSampler(counts, (user, item), len(data.sequences), negative_mix_of(options), *popularity)
    return Objective(
        model,
        sampler,
        options.loss,
        options.num_negatives or 1,
        options.temperature or 1.0,
        options.learnable_temperature,
        options.l2_emb,
        options.infonce_negatives == "batch",
        options.temperature_end,
    )


def interactions_of(data: TencentGRData, rows: SequenceRows) -> tuple[Tensor, Tensor]:
    """Sequence and item of every interaction that training sees, flat; what is held out is left out."""
    last = data.sequences.offset[:-1].copy()  # (S,) where training ends in each sequence
    np.maximum.at(last, rows.sequence, rows.stop)
    owner = np.repeat(np.arange(len(data.sequences)), np.diff(data.sequences.offset))
    seen = np.arange(len(owner)) < last[owner]
    seen &= data.sequences.item <= data.schema.num_items
    return torch.from_numpy(owner[seen]), torch.from_numpy(data.sequences.item[seen].astype(np.int64))


def make_optimizer(options: TencentGROptions, objective: Objective) -> torch.optim.Optimizer:
    parameters, betas = list(objective.parameters()), BETAS[options.optimizer]
    if options.optimizer == "adamw":
        return torch.optim.AdamW(parameters, options.learning_rate, betas, weight_decay=options.weight_decay)
    return torch.optim.Adam(parameters, options.learning_rate, betas)


def fingerprint_of(data: TencentGRData) -> str:
    """A hash over the schema, the interactions, and the items' features and vectors."""
    digest = hashlib.sha256(json.dumps(asdict(data.schema)).encode())
    for array in (data.sequences.offset, data.sequences.item, data.items.sparse, data.items.array, data.items.semantic):
        digest.update(b"" if array is None else np.ascontiguousarray(array))
    for vectors in data.items.emb.values():
        for begin in range(0, len(vectors), HASHED):
            digest.update(np.ascontiguousarray(vectors[begin : begin + HASHED]))
    return digest.hexdigest()[:16]

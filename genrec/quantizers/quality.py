"""What an index is worth before any model is trained on it: the numbers of quality.json and their plot.

Every share stands beside what chance would give with the same group sizes, since short prefixes hold many items.

N items, D width, L levels, K codes a level, P pairs
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from genrec.data.catalog import Catalog, Labels, number_texts
from genrec.data.vectors import Rows, scale_to_unit, split_rows
from genrec.quantizers.residual import Quantized, sum_codebooks
from genrec.sids import NONE, SidIndex, pack_rows
from genrec.tables import render_table

NEIGHBOURS = 10
SAMPLE = 2000  # items whose neighbours are looked up
LOW_USAGE = 0.5  # below this share of a level's codes the index is warned about


def measure_quality(
    index: SidIndex, before: np.ndarray, catalog: Catalog | Labels, vectors: Rows, pairs: np.ndarray, seed: int
) -> dict[str, Any]:
    """The numbers that need no codebooks: `before` (N, L) as the method gave them, `pairs` (P, 2) next purchases."""
    codes = index.codes[:, : before.shape[1]]  # without the extra level, which says nothing of the item
    return {
        "items": len(index),
        "collisions": {"before": count_collisions(before), "after": count_collisions(index.codes)},
        "levels": [measure_usage(index.codes[:, level], size) for level, size in enumerate(index.sizes)],
        "purity": {
            "category": measure_purity(codes, take_first_varied(catalog.categories), seed),
            "brand": measure_purity(codes, catalog.brand, seed),
        },
        "neighbours": measure_shared_prefixes(codes, find_neighbour_pairs(vectors, seed)),
        "coherence": measure_shared_prefixes(codes, pairs),
    }


def count_collisions(codes: np.ndarray) -> dict[str, Any]:
    """Items beyond the first of each SID, their share, items that share an SID at all, and the largest group."""
    _, size = np.unique(pack_rows(codes), return_counts=True)
    extra = len(codes) - len(size)
    return {
        "items": extra,
        "share": round(extra / len(codes), 6),
        "sharing": int(size[size > 1].sum()),
        "largest": int(size.max()),
    }


def measure_usage(codes: np.ndarray, size: int) -> dict[str, Any]:
    """One level: codes in use, perplexity exp(-sum p log p), and the largest code against an even share."""
    counts = np.bincount(codes[codes != NONE], minlength=size)
    share = counts[counts > 0] / max(1, counts.sum())
    return {
        "codes": size,
        "used": int((counts > 0).sum()),
        "perplexity": round(float(np.exp(-(share * np.log(share)).sum())), 2),
        "largest": int(counts.max()),
        "smallest": int(counts.min()),
        "imbalance": round(float(counts.max() * size / max(1, counts.sum())), 3),
    }


def measure_reconstruction(quantized: Quantized, codes: np.ndarray) -> dict[str, Any]:
    """Error |x - x^|^2 over |x - mean x|^2 after each level, and the share that the level explains."""
    inputs, total = quantized.inputs, 0.0
    errors = np.zeros(codes.shape[1])
    mean = average_rows(inputs)
    for block in split_rows(inputs):
        rows = inputs[block]
        total += float(((rows - mean) ** 2).sum())
        for level in range(codes.shape[1]):
            rebuilt = quantized.reconstruct(sum_codebooks(codes[block, : level + 1], quantized.codebooks))
            errors[level] += float(((rows - rebuilt) ** 2).sum())
    shares = [float(error) / (total or 1.0) for error in errors]
    explained = -np.diff([1.0, *shares])
    return {"error": [round(e, 5) for e in shares], "explained": [round(float(e), 5) for e in explained]}


def average_rows(rows: Rows) -> np.ndarray:
    """(D,) mean of rows (N, D)."""
    if isinstance(rows, np.ndarray):
        return rows.mean(axis=0)
    sums = sum(rows[block].sum(axis=0, dtype=np.float64) for block in split_rows(rows))
    return (sums / len(rows)).astype(np.float32)


def group_by_prefix(codes: np.ndarray, length: int) -> np.ndarray:
    """(N, L) -> (N,) number of each item's group of equal first `length` codes."""
    return np.unique(pack_rows(codes[:, :length]), return_inverse=True)[1]


def measure_shared_prefixes(codes: np.ndarray, pairs: np.ndarray) -> list[dict[str, float]]:
    """For 1..L codes: share of pairs (P, 2) of items that agree in them; chance pairs lefts with rights at random."""
    rows = []
    for length in range(1, codes.shape[1] + 1):
        left, right = group_by_prefix(codes, length)[pairs].T
        both = max(left.max(initial=0), right.max(initial=0)) + 1
        chance = np.bincount(left, minlength=both) @ np.bincount(right, minlength=both) / max(1, len(pairs)) ** 2
        share = float((left == right).mean()) if len(pairs) else 0.0
        rows.append({"codes": length, "share": round(share, 5), "chance": round(float(chance), 5)})
    return rows


def measure_purity(codes: np.ndarray, labels: np.ndarray, seed: int) -> list[dict[str, float]]:
    """For 1..L codes: share of labelled items with their group's most frequent label; chance shuffles the labels."""
    labelled = np.flatnonzero(labels != "")
    if not len(labelled):
        return []
    numbers = number_texts(pl.Series(labels[labelled].astype(object), dtype=pl.String))[1]
    shuffled = np.random.default_rng(seed).permutation(numbers)
    rows = []
    for length in range(1, codes.shape[1] + 1):
        group = group_by_prefix(codes[labelled], length)
        share, chance = majority_share(group, numbers), majority_share(group, shuffled)
        rows.append({"codes": length, "share": round(share, 5), "chance": round(chance, 5)})
    return rows


def majority_share(group: np.ndarray, labels: np.ndarray) -> float:
    cells, counts = np.unique(pack_rows(np.stack([group, labels], axis=1)), return_counts=True)
    best = np.zeros(group.max() + 1, dtype=np.int64)
    np.maximum.at(best, cells // (int(labels.max()) - int(labels.min()) + 1), counts)
    return float(best.sum() / len(group))


def take_first_varied(categories: np.ndarray) -> np.ndarray:
    """(N,) "a,b,c" -> (N,) the coarsest part in which items differ (a shop puts its own name first), or ''."""
    kinds, number = number_texts(pl.Series(categories.astype(object), dtype=pl.String))
    paths = [[name.strip() for name in str(text).split(",")] for text in kinds]
    roots = {path[0] for path in paths if path[0]}
    at = 0 if len(roots) > 1 and not have_one_root(paths, np.bincount(number)) else 1
    return np.array([path[at] if len(path) > at else "" for path in paths], dtype=object)[number]


def have_one_root(paths: list[list[str]], items: np.ndarray) -> bool:
    """Nine of ten items with a known path begin with the same part; `items` (T,) have each path."""
    known: dict[str, int] = {}
    for path, count in zip(paths, items.tolist(), strict=True):
        known[path[0]] = known.get(path[0], 0) + count
    known.pop("", None)
    return max(known.values(), default=0) > 0.9 * sum(known.values())


def find_neighbour_pairs(vectors: Rows, seed: int) -> np.ndarray:
    """(P, 2): a sample of items, each with its NEIGHBOURS nearest others by cosine."""
    sampled = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:SAMPLE])
    count = min(NEIGHBOURS, len(vectors) - 1)
    nearest: list[list[tuple[np.ndarray, np.ndarray]]] = []  # of each block, of each 256: likeness and items (n, count)
    queries = scale_to_unit(vectors[sampled])
    for block in split_rows(vectors):
        unit = scale_to_unit(vectors[block])
        chunks = [slice(start, start + 256) for start in range(0, len(sampled), 256)]
        nearest.append([find_most_alike(queries[at], sampled[at], unit, block.start, count) for at in chunks])
    rows = [merge_most_alike(found, count) for found in zip(*nearest, strict=True)]
    return np.stack([np.repeat(sampled, count), np.concatenate(rows).ravel()], axis=1).astype(np.int64)


def find_most_alike(
    query: np.ndarray, own: np.ndarray, unit: np.ndarray, first: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """(n, D) of the items `own` among items `first`.. (m, D) -> (likeness, items), each (n, at most count)."""
    likeness = query @ unit.T  # (n, m)
    inside = np.flatnonzero((own >= first) & (own < first + len(unit)))
    likeness[inside, own[inside] - first] = -np.inf
    count = min(count, len(unit))
    best = np.argpartition(-likeness, count - 1, axis=1)[:, :count] if count else np.zeros((len(query), 0), np.int64)
    return np.take_along_axis(likeness, best, axis=1), best + first


def merge_most_alike(found: Sequence[tuple[np.ndarray, np.ndarray]], count: int) -> np.ndarray:
    """(n, count) items, of what blocks of items had; what one block had stays in its order."""
    if len(found) == 1:
        return found[0][1]
    likeness, items = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
    best = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
    return np.take_along_axis(items, best, axis=1)


def find_next_pairs(item: np.ndarray, offset: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(P, 2) consecutive different items of one user, both events allowed by `seen` (T,)."""
    owner = np.repeat(np.arange(len(offset) - 1), np.diff(offset))
    follows = (owner[1:] == owner[:-1]) & seen[1:] & seen[:-1] & (item[1:] != item[:-1])
    return np.stack([item[:-1][follows], item[1:][follows]], axis=1).astype(np.int64)


def list_warnings(quality: dict[str, Any]) -> list[str]:
    """What a user must hear at once."""
    lines = [
        f"level {level + 1} uses only {row['used']} of {row['codes']} codes "
        f"({row['used'] / row['codes']:.0%}); fewer codes or another method would spend them better"
        for level, row in enumerate(quality["levels"])
        if row["used"] < LOW_USAGE * min(row["codes"], quality["items"])
    ]
    after = quality["collisions"]["after"]
    if after["items"]:
        lines.append(
            f"{after['sharing']} items share a semantic ID with another; no model can tell those apart. "
            "--sids.collisions reassign makes all distinct"
        )
    return lines + list_losses(quality)


def list_losses(quality: dict[str, Any]) -> list[str]:
    """Where rqkmeans_plus ends worse than the codebooks of rqkmeans_constrained that it began from."""
    if "start" not in quality:
        return []
    began, ended = quality["start"]["collisions"]["share"], quality["collisions"]["before"]["share"]
    errors = quality["start"]["error"][-1], quality["reconstruction"]["error"][-1]
    worse = [f"collisions {began:.1%} -> {ended:.1%}"] if ended > began else []
    worse += [f"error {errors[0]:.3f} -> {errors[1]:.3f}"] if errors[1] > errors[0] else []
    if not worse:
        return []
    return [
        f"rqkmeans_plus ends worse than the rqkmeans_constrained that it began from ({', '.join(worse)}); "
        "--sids.method rqkmeans_constrained keeps that"
    ]


def make_comparison(qualities: dict[str, dict[str, Any]]) -> str:
    """A table of quality reports, a row an index; shares beside their level."""
    head = ["sids/", "codes", "used", "collisions", "left", "error", "neighbours", "next bought"]
    return render_table([head, *(make_comparison_row(name, each) for name, each in qualities.items())])


def make_comparison_row(name: str, quality: dict[str, Any]) -> list[str]:
    """Shares of `neighbours` and of next purchases that agree in the first code."""
    levels = quality["levels"]
    before, after = quality["collisions"]["before"], quality["collisions"]["after"]
    error = f"{quality['reconstruction']['error'][-1]:.3f}" if "reconstruction" in quality else "-"
    first = [f"{quality[kind][0]['share']:.3f}" if quality[kind] else "-" for kind in ("neighbours", "coherence")]
    used = sum(row["used"] for row in levels) / sum(row["codes"] for row in levels)
    return [
        name,
        "x".join(str(row["codes"]) for row in levels),
        f"{used:.0%}",
        f"{before['share']:.1%}",
        f"{after['items']:,}",
        error,
        *first,
    ]


def plot_quality(quality: dict[str, Any], index: SidIndex, path: Path) -> None:
    """quality.png: code sizes by level, error by level, and the three prefix shares against chance."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(15, 8.5))
    plot_usage(axes[0, 0], index)
    plot_error(axes[0, 1], quality)
    panels = {
        "neighbours in the embedding": quality["neighbours"],
        "consecutive purchases": quality["coherence"],
        "same category (purity)": quality["purity"]["category"],
        "same brand (purity)": quality["purity"]["brand"],
    }
    for axis, (title, rows) in zip([axes[0, 2], *axes[1]], panels.items(), strict=True):
        plot_shares(axis, title, rows)
    before, after = quality["collisions"]["before"]["items"], quality["collisions"]["after"]["items"]
    figure.suptitle(f"Semantic IDs of {len(index):,} items; collisions before {before:,}, after {after:,}")
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def plot_usage(axis: Any, index: SidIndex) -> None:
    for level, size in enumerate(index.sizes):
        codes = index.codes[:, level]
        counts = np.sort(np.bincount(codes[codes != NONE], minlength=size))[::-1]
        axis.plot(np.arange(1, size + 1), counts, label=f"level {level + 1}: {int((counts > 0).sum())} of {size} used")
    axis.set(title="Items a code", xlabel="code, largest first", ylabel="items", ylim=(0, None))
    axis.legend(loc="upper right")


def plot_error(axis: Any, quality: dict[str, Any]) -> None:
    axis.set(title="Error left after each level", xlabel="levels", ylabel="share of variance", ylim=(0, 1.1))
    errors = np.clip(quality.get("reconstruction", {}).get("error", []), 0, 1)
    axis.bar([str(level + 1) for level in range(len(errors))], errors, color="tab:gray")
    for level, error in enumerate(errors):
        axis.text(level, error, f"{error:.3f}", ha="center", va="bottom")


def plot_shares(axis: Any, title: str, rows: list[dict[str, float]]) -> None:
    axis.set(title=f"Equal first codes: {title}", xlabel="first codes compared", ylabel="share")
    axis.set(ylim=(0, 1.35), yticks=np.linspace(0, 1, 6))
    where = np.arange(len(rows))
    axis.set_xticks(where, [str(row["codes"]) for row in rows])
    if not rows:  # no item has such a label
        axis.text(0.5, 0.5, "not known", ha="center", va="center", transform=axis.transAxes)
        return
    axis.bar(where - 0.2, [row["share"] for row in rows], 0.4, label="these SIDs")
    axis.bar(where + 0.2, [row["chance"] for row in rows], 0.4, label="chance", color="lightgray")
    for x, row in zip(where, rows, strict=True):
        axis.text(x - 0.2, row["share"], f"{row['share']:.2f}", ha="center", va="bottom", fontsize=8)
    axis.legend(loc="upper right")

"""The data stage as one function: a source as read -> catalogue, sequences, splits, and the report of what happened."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from genrec.config import Data
from genrec.data.catalog import Catalog
from genrec.data.changes import explain_too_few
from genrec.data.events import Shop
from genrec.data.filters import UNTITLED, TooFewEvents, WindowCut, filter_events
from genrec.data.ledger import Ledger
from genrec.data.repeats import REPEATS_ALLOWED, decide, mark_repeats
from genrec.data.sequences import SPLITS, Sequences, Split, count_train_events
from genrec.data.splits import build_sequences, split_targets
from genrec.data.ties import describe_ties, draw_tie_order, measure_ties
from genrec.data.untitled import count_names, name_untitled
from genrec.errors import ArtifactError

NOTICED = 0.1  # a share of the events that one filter took, from which the screen warns


class Preparation(NamedTuple):
    catalog: Catalog
    sequences: Sequences
    splits: dict[str, Split]
    report: dict[str, Any]


def prepare_shop(shop: Shop, data: Data, seed: int) -> Preparation:
    """Filters, numbering and split of what a reader brought; with data.ties random `seed` orders events of one time."""
    try:
        return cut_shop(shop, data, seed)
    except TooFewEvents as error:
        raise ArtifactError(explain_too_few(error, shop, data, seed)) from None


def cut_shop(shop: Shop, data: Data, seed: int) -> Preparation:
    named = name_untitled(shop) if data.untitled == "keep" else shop
    filtered = filter_events(named, data)
    tie_order = draw_tie_order(data.ties, len(filtered.events), seed)
    sequences, item_ids, tie_order = build_sequences(filtered.events, tie_order)
    splits = split_targets(sequences, data.split, tie_order)
    catalog = build_catalog(named.items, item_ids)
    described = describe_preparation(catalog, sequences, splits, data.max_history)
    report = write_report(shop, filtered.rounds, filtered.window, data, item_ids, described)
    report |= {"time_ties": measure_ties(sequences, splits, data)}
    if data.split == "new_items":
        report |= {"cold_targets": measure_cold_targets(sequences, splits, len(catalog))}
    return Preparation(catalog, sequences, splits, report)


def measure_cold_targets(sequences: Sequences, splits: dict[str, Split], num_items: int) -> dict[str, float]:
    """Of valid and test targets, the share whose items have no train event."""
    cold = count_train_events(sequences, splits, num_items) == 0
    return {name: round(float(cold[sequences.item[splits[name].end]].mean()), 4) for name in SPLITS[1:]}


def write_report(
    shop: Shop,
    rounds: list[dict[str, int]],
    window: WindowCut | None,
    data: Data,
    item_ids: pl.Series,
    described: dict[str, Any],
) -> dict[str, Any]:
    """All but the ties: what was read and lost, and the counts of what was made, as `described`."""
    return {
        "files": shop.files,
        "read": {"events": shop.event_ledger.as_dict(), "items": shop.item_ledger.as_dict()},
        **describe_window(window),
        **({"untitled": count_names(shop.items, item_ids)} if data.untitled == "keep" else {}),
        **({"notes": list(shop.notes)} if shop.notes else {}),
        "k_core_rounds": rounds,
        **described,
    }


def describe_window(cut: WindowCut | None) -> dict[str, Any]:
    if cut is None:
        return {"window": None}
    return {
        "window": list(cut.months),
        "window_cut": {"outside": cut.outside, "events": cut.events, "span": cut.span},
    }


def build_catalog(items: pl.DataFrame, item_ids: pl.Series) -> Catalog:
    """Item records in the order of the item numbers."""
    wanted = pl.DataFrame({"item": item_ids.cast(pl.String)})
    table = wanted.join(items, on="item", how="left", maintain_order="left").with_columns(pl.all().fill_null(""))
    columns = {name: table[name].to_numpy().astype(object) for name in ("title", "text", "brand", "categories")}
    features = {name: encode_feature(table[name]) for name in table.columns if name not in ("item", *columns)}
    return Catalog(item_id=table["item"].to_numpy().astype(object), **columns, features=features)


def encode_feature(values: pl.Series) -> np.ndarray:
    """(N,) texts -> (N,) int32: 1, 2, ... as they appear in the catalogue, 0 where empty."""
    known = values.filter(values != "").unique(maintain_order=True)
    return values.replace_strict(known, np.arange(1, len(known) + 1), default=0, return_dtype=pl.Int32).to_numpy()


class SplitCounts(NamedTuple):
    """What the report says of a split's targets, as counts, which those of parts add up to."""

    lengths: np.ndarray  # (max_history + 1,) targets by the events before them that an example keeps
    repeating_last: int  # targets that are the item just before them
    in_past: int  # that stand anywhere before

    @property
    def rows(self) -> int:
        return int(self.lengths.sum())


def describe_preparation(
    catalog: Catalog, sequences: Sequences, splits: dict[str, Split], max_history: int
) -> dict[str, Any]:
    """Counts of what was made."""
    repeats = mark_repeats(sequences)
    counts = {name: count_split(sequences, splits[name], repeats, max_history) for name in SPLITS}
    return describe_counts(catalog, len(sequences), len(sequences.item), counts)


def count_split(sequences: Sequences, split: Split, repeats: np.ndarray, max_history: int) -> SplitCounts:
    """`repeats` (T,) bool: the event is of an item that its user had before."""
    lengths = np.bincount(measure_lengths(sequences, split, max_history), minlength=max_history + 1)
    same = (sequences.item[split.end - 1] == sequences.item[split.end]) & (split.end > sequences.offset[split.user])
    return SplitCounts(lengths, int(same.sum()), int(repeats[split.end].sum()))


def describe_counts(catalog: Catalog, users: int, events: int, counts: dict[str, SplitCounts]) -> dict[str, Any]:
    return {
        "users": users,
        "items": len(catalog),
        "events": events,
        "rows": {name: split.rows for name, split in counts.items()},
        "history_length": {name: describe_lengths(split.lengths) for name, split in counts.items()},
        "target_is_last_item": {name: share(split.repeating_last, split) for name, split in counts.items()},
        "target_in_past": {name: share(split.in_past, split) for name, split in counts.items()},
        "items_without_text": int((catalog.text == "").sum()),
        **count_features(catalog),
    }


def share(targets: int, split: SplitCounts) -> float:
    return round(targets / split.rows, 4) if split.rows else 0.0


def count_features(catalog: Catalog) -> dict[str, Any]:
    """Distinct values of each, where a source has features."""
    counts = {name: int(codes.max()) for name, codes in catalog.features.items()}
    return {"features": counts} if counts else {}


def measure_lengths(sequences: Sequences, split: Split, max_history: int) -> np.ndarray:
    """(E,) events before each target that an example keeps."""
    return np.minimum(split.end - sequences.offset[split.user], max_history)


def describe_lengths(counts: np.ndarray) -> dict[str, float]:
    """Of counts by length 0, 1, ..., one at least."""
    length, rows, below = np.flatnonzero(counts), int(counts.sum()), np.cumsum(counts)
    middle = np.searchsorted(below, [(rows - 1) // 2, rows // 2], side="right")
    return {
        "min": int(length[0]),
        "mean": round(float(counts @ np.arange(len(counts)) / rows), 2),
        "median": float(middle.mean()),
        "max": int(length[-1]),
    }


def summarize_preparation(report: dict[str, Any]) -> list[str]:
    """The report in a few lines for the screen: what each file lost, what there is now, where times do not order it."""
    lines = [
        Ledger(name, account["read"], account["dropped"], account["first_lines"]).line()
        for name, account in report["read"].items()
        if account["read"] or name == "events"  # a table may come without items
    ]
    rows, repeated = report["rows"], report["target_is_last_item"]["test"]
    lines += report.get("notes", [])
    lines.append(f"{report['users']:,} users, {report['items']:,} items, {report['events']:,} events")
    parts = ", ".join(f"{rows[name]:,} {name}" for name in SPLITS)
    lines.append(f"{parts} rows; {repeated:.1%} of test targets repeat the last item")
    lines.append(describe_repeats(report["target_in_past"]))
    if cold := report.get("cold_targets"):
        shares = " and ".join(f"{share:.1%} of {name}" for name, share in cold.items())
        lines.append(f"{shares} targets are of items without a train event")
    lines += [*warn_of_window(report), *tell_of_titles(report)]
    return lines + (describe_ties(report["time_ties"]) if "time_ties" in report else [])


def warn_of_window(report: dict[str, Any]) -> list[str]:
    """Where the window took much, which is easily unseen."""
    cut = report.get("window_cut", {"outside": 0, "events": 0})
    if cut["outside"] <= NOTICED * cut["events"]:
        return []
    return [
        f"warning: the window {'..'.join(report['window'])} leaves out {cut['outside']:,} of {cut['events']:,} events, "
        f"which run from {cut['span']}; to keep them move --data.st_year --data.st_month --data.ed_year --data.ed_month"
    ]


def tell_of_titles(report: dict[str, Any]) -> list[str]:
    """Where many events went with their items' titles, or what items without one are called by."""
    account = report["read"].get("events", {"read": 0, "dropped": {}})
    lost = account["dropped"].get(UNTITLED, 0)
    if lost > NOTICED * account["read"]:
        return [
            f"warning: {lost:,} of {account['read']:,} events are of items without a usable title; "
            "--data.untitled keep calls these by what else is known of them"
        ]
    names = report.get("untitled", {"items": 0})
    if not names["items"]:
        return []
    by = ", ".join(f"{name} ({count:,})" for name, count in names.items() if name != "items" and count)
    return [f"{names['items']:,} items without a usable title are called by {by}"]


def describe_repeats(repeats: dict[str, float]) -> str:
    """How often targets repeat the past, and what `evaluation.filter_seen: auto` will make of it."""
    shares = f"{repeats['train']:.1%} of train and {repeats['valid']:.1%} of valid targets repeat the user's past"
    side = "below" if decide(repeats) else "not below"
    lists = "leave seen items out" if decide(repeats) else "may hold seen items"
    return f"{shares}; {side} {REPEATS_ALLOWED:.0%} of valid, so lists {lists} (evaluation.filter_seen)"

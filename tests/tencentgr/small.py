"""A tiny catalogue with every kind of feature, and batches of it, for tests of the model."""

import numpy as np
import torch

from tencentgr.features import FeatureSchema, FeatureTable
from tencentgr.model import TencentGR, TencentGRShape

ITEMS, USERS, LENGTH = 12, 4, 6
SCHEMA = FeatureSchema(
    num_users=USERS,
    num_items=ITEMS,
    user_sparse={"103": 3},
    user_array={"106": 4, "107": 2},
    item_sparse={"100": 5, "117": 2, "111": 7},
    item_array={"200": 6},
    item_continual=("300", "301"),
    item_emb={"81": 8, "82": 10},
    semantic=(4, 4, 16),
)


def table(side: str, rows: int, seed: int = 0) -> FeatureTable:
    random = np.random.default_rng(seed)

    def values(sizes: dict[str, int] | tuple[int, ...], *more: int) -> np.ndarray:
        sizes = list(sizes.values()) if isinstance(sizes, dict) else list(sizes)
        columns = [random.integers(0, size + 1, (rows, *more)) for size in sizes]
        drawn = np.stack(columns, axis=1) if columns else np.zeros((rows, 0, *more))
        drawn[0] = 0
        return drawn.astype(np.int32)

    continual = random.normal(size=(rows, len(getattr(SCHEMA, f"{side}_continual")))).astype(np.float32)
    continual[0] = 0
    emb = {}
    if side == "item":
        emb = {name: random.normal(size=(rows, width)).astype(np.float32) for name, width in SCHEMA.item_emb.items()}
    sparse, array = values(getattr(SCHEMA, f"{side}_sparse")), values(getattr(SCHEMA, f"{side}_array"), 3)
    semantic = values(SCHEMA.semantic) if side == "item" else None
    return FeatureTable(np.arange(rows, dtype=np.int32), sparse, array, continual, emb, semantic)


def model(**knobs) -> TencentGR:
    torch.manual_seed(0)
    network = TencentGR(
        TencentGRShape(**{"hidden_size": 16, "max_history": LENGTH - 1, "dropout": 0.0} | knobs), SCHEMA
    )
    return network.use(table("item", ITEMS + 1), table("user", USERS + 1)).eval()


def batch(*users: list[int], length: int = LENGTH) -> dict[str, torch.Tensor]:
    """One row a user: a profile token, then all items but the last; `pos` is the token after. Left-padded."""
    names = ("seq", "pos", "token_type", "next_token_type", "next_action_type", "action_type")
    rows = {name: torch.zeros(len(users), length, dtype=torch.long) for name in names}
    for row, items in enumerate(users):
        begin = length - len(items)
        rows["seq"][row, begin:] = torch.tensor([row % USERS + 1, *items[:-1]])
        rows["pos"][row, begin:] = torch.tensor(items)
        rows["token_type"][row, begin:] = torch.tensor([2, *[1] * (len(items) - 1)])
        rows["next_token_type"][row, begin:] = 1
        rows["next_action_type"][row, begin:] = torch.tensor([1 + item % 2 for item in items])
        rows["action_type"][row, begin + 1 :] = torch.tensor([1 + item % 2 for item in items[:-1]])
    return rows | {"sequence": torch.arange(len(users))}

"""Recommendations in Python: one history, users of a run, and why.

python examples/recommend.py outputs/quickstart
"""

from __future__ import annotations

import sys

import genrec


def main(place: str) -> None:
    shop = genrec.load(place)  # a run, a model directory, or a name of the hub
    user = str(shop.sequences.user_id[0])
    lists = shop.recommend(users=[user], k=5)
    print(lists)
    history = [str(shop.catalog.item_id[item]) for item in shop.sequences.item[: shop.sequences.offset[1]]]
    print(shop.recommend([history], k=5, deny=[lists["item_id"][0]]))
    print(shop.explain(history, lists["item_id"][0]))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "outputs/quickstart")

"""Item vectors -> semantic IDs by sids.method, distinct unless collisions are kept.

reads   data/, embeddings/<dataset>.emb.npy
writes  sids/<dataset>.index.json <dataset>.item.json codes.npy codebooks.npz sid_index.npz quality.json quality.png

    python rq/generate_indices.py --config config/0.5b.yaml --method rqkmeans
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from genrec.config import Config
from genrec.stage import main


def build(config: Config, partial: Path) -> dict:
    from genrec.quantizers.build import build

    return build(config, partial)


if __name__ == "__main__":
    main("sids", "sids", __doc__, build)

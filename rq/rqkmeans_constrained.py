"""Constrained RQ-Kmeans: residual k-means whose codes all hold the same number of items.

reads   data/, embeddings/<dataset>.emb.npy
writes  sids/ (see rq/generate_indices.py); the same as rq/generate_indices.py --method rqkmeans_constrained

    python rq/rqkmeans_constrained.py --config config/0.5b.yaml
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
    sys.argv[1:1] = ["--method", "rqkmeans_constrained"]  # first, so that the config's method gives way
    main("sids", "sids", __doc__, build)

"""Constrained RQ-Kmeans: residual k-means whose codes all hold the same number of items.

reads   data/, embeddings/<dataset>.emb.npy
writes  sids/ (see rq/generate_indices.py); the same as rq/generate_indices.py --method rqkmeans_constrained

    python rq/rqkmeans_constrained.py --config config/0.5b.yaml
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from genrec.quantizers.command import command

if __name__ == "__main__":
    command(__doc__, "rqkmeans_constrained")

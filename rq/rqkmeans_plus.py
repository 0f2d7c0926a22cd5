"""RQ-Kmeans+: codebooks of constrained RQ-Kmeans, refined together with z = x + MLP(x), which starts as z = x.

reads   data/, embeddings/<dataset>.emb.npy
writes  sids/ (see rq/generate_indices.py). When sids/ was made by rq/rqkmeans_constrained.py with the same settings
        and nothing was trained on it yet, its codebooks are taken over; otherwise they are learned first.

    python rq/rqkmeans_plus.py --config config/0.5b.yaml
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from genrec.quantizers.command import command

if __name__ == "__main__":
    command(__doc__, "rqkmeans_plus")

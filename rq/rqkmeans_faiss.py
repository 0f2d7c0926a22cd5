"""RQ-Kmeans: residual k-means by faiss; seconds, but many collisions before they are resolved.

reads   data/, embeddings/<dataset>.emb.npy
writes  sids/ (see rq/generate_indices.py); the same as rq/generate_indices.py --method rqkmeans

    python rq/rqkmeans_faiss.py --config config/0.5b.yaml
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from genrec.quantizers.command import command

if __name__ == "__main__":
    command(__doc__, "rqkmeans")

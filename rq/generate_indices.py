"""Item vectors -> semantic IDs by sids.method, distinct unless collisions are kept.

reads   data/, embeddings/<dataset>.emb.npy
writes  sids/<dataset>.index.json <dataset>.item.json codes.npy codebooks.npz sid_index.npz quality.json quality.png

    python rq/generate_indices.py --config config/0.5b.yaml --method rqkmeans
    python rq/generate_indices.py --config config/0.5b.yaml --add new.item.json --retire "[12, 40]"   # -> sids_grown/
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from genrec.quantizers.command import command

if __name__ == "__main__":
    command(__doc__)

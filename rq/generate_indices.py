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

from genrec.artifacts import ArtifactError
from genrec.config import Config, parse
from genrec.stage import fail, main


def build(config: Config, partial: Path) -> dict:
    from genrec.quantizers.build import build

    return build(config, partial)


if __name__ == "__main__":
    asked = parse(section="sids", doc=__doc__).config
    if asked.sids.add is None and not asked.sids.retire:
        main("sids", "sids", __doc__, build)
    else:
        from genrec.quantizers.grow import grow_run

        try:
            grow_run(asked)
        except ArtifactError as error:
            fail(str(error))

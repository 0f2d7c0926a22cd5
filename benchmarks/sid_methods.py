"""Every quantizer on the vectors of one run: time, collisions before they are resolved, usage, error, prefix shares.

    python benchmarks/sid_methods.py --run.dir outputs/Industrial_and_Scientific   # needs data/, embeddings/
    python benchmarks/sid_methods.py --run.dir DIR --sids.num_levels 4           # any key of the config, by path

Prints a markdown table. Shares are of pairs or items that agree in the first code (of two codes after the slash):
`next` consecutive train purchases, `near` ten nearest neighbours in the embedding, `category` and `brand` purity.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import timed
from genrec.artifacts import QUALITY
from genrec.commandline import parse, stage_program
from genrec.config import Config

METHODS = {
    "rqkmeans": {},
    "rqkmeans_constrained": {},
    "rqvae": {},
    "rqvae, best by collision": {"method": "rqvae", "best_by": "collision"},
    "rqvae, Sinkhorn": {"method": "rqvae", "sinkhorn_eps": 0.05},
    "rqkmeans_plus": {},
    "rqkmeans_constrained, alpha 0.5": {"method": "rqkmeans_constrained", "alpha": 0.5},
}
COLUMNS = "method | s (CPU s) | collisions before | codes used | perplexity | error | next | near | category | brand"


def row(config: Config, name: str, change: dict) -> str:
    from genrec.stages.sids import build

    knobs = config.sids.model_copy(update={"method": name} | change)
    with tempfile.TemporaryDirectory() as scratch:
        spent = timed(lambda: build(config.model_copy(update={"sids": knobs}), Path(scratch)))
        quality = json.loads((Path(scratch) / QUALITY).read_text())
    seconds = f"{spent.wall:.1f} ({spent.cpu:.1f})"
    before = quality["collisions"]["before"]
    shares = [quality["coherence"], quality["neighbours"], quality["purity"]["category"], quality["purity"]["brand"]]
    cells = [
        name,
        seconds,
        f"{before['items']} ({before['share']:.1%})",
        " ".join(str(level["used"]) for level in quality["levels"]),
        " ".join(f"{level['perplexity']:.0f}" for level in quality["levels"]),
        f"{quality['reconstruction']['error'][-1]:.3f}",
        *(" / ".join(f"{part['share']:.3f}" for part in rows[:2]) for rows in shares),
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    config = parse(stage_program("python benchmarks/sid_methods.py", __doc__)).config
    print(f"| {COLUMNS} |\n|" + "---|" * (COLUMNS.count("|") + 1))
    for name, change in METHODS.items():
        print(row(config, name, change), flush=True)


if __name__ == "__main__":
    main()

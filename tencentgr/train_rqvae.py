"""Semantic IDs of creatives from their multimodal vectors: semantic_id_dict.json, to be put into the data directory.

cd tencentgr && python train_rqvae.py --data_dir DATA --output_dir DATA --mm_emb_id 81 82 83 --num_quantizers 4
python train_rqvae.py --data_dir DATA --output_dir DATA --mm_emb_id 81 82 83 --add    # creatives that came since
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="the competition's files (else TRAIN_DATA_PATH)")
    parser.add_argument("--output_dir", type=Path, required=True, help="where the IDs and the model go")
    parser.add_argument("--cache_dir", type=Path, help="converted files (default <data_dir>/cache)")
    parser.add_argument("--mm_emb_id", nargs="+", default=["81"], help="one or several of 81 .. 86 (default 81)")
    parser.add_argument("--num_quantizers", type=int, default=4, help="levels, codes a creative (default 4)")
    parser.add_argument("--codebook_size", type=int, default=256, help="codes a level (default 256)")
    parser.add_argument("--batch_size", type=int, default=1024, help="items a step (default 1024)")
    parser.add_argument("--num_epochs", type=int, default=50, help="passes over the items (default 50)")
    parser.add_argument("--lr", type=float, default=1e-3, help="AdamW rate (default 1e-3)")
    parser.add_argument("--commitment_cost", type=float, default=0.25, help="weight of |r - sg(e)|^2 (default 0.25)")
    parser.add_argument("--seed", type=int, default=42, help="of everything random (default 42)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1 (default auto)")
    parser.add_argument("--add", action="store_true", help="only give IDs to creatives that have none yet")
    parser.add_argument("--clean", action="store_true", help="throw away what is there and train anew")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    from genrec.errors import exit_on_failure

    with exit_on_failure(args.output_dir):
        run(args)


def run(args: argparse.Namespace) -> None:
    from tencentgr import files, rqvae
    from tencentgr.parts import source_of

    data_dir = files.directory(args.data_dir, "TRAIN_DATA_PATH", "data_dir")
    source = source_of(data_dir, args.mm_emb_id, args.cache_dir, semantic=False, prefixes=False)
    if args.add:
        rqvae.add(source, args.output_dir, args.device)
        return
    if args.clean:
        rqvae.clean(args.output_dir)
    named = {name: getattr(args, name) for name in rqvae.Settings.__dataclass_fields__ if name != "mm_emb_id"}
    rqvae.train(source, rqvae.Settings(mm_emb_id=source.mm_emb_id, **named), args.output_dir, args.device)


if __name__ == "__main__":
    main(parse())

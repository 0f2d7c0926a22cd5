"""Write a data set in the competition's formats with known structure, to try everything on.

cd tencentgr && python make_sample.py --output_dir ../outputs/tencentgr_sample --users 2000 --items 1000
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, required=True, help="where the files go")
    parser.add_argument("--users", type=int, default=2000, help="users of seq.jsonl (default 2000)")
    parser.add_argument("--items", type=int, default=1000, help="items of the indexer (default 1000)")
    parser.add_argument("--longest", type=int, default=40, help="interactions a user, at most (default 40)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default 0)")
    parser.add_argument("--mm_emb_id", nargs="+", default=["81"], help="embeddings to write, of 81 .. 86 (default 81)")
    parser.add_argument("--width", type=int, help="width of all embeddings in place of their real ones")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    from genrec.errors import exit_on_failure, fail
    from genrec.launch import note
    from tencentgr.files import WIDTHS
    from tencentgr.generator import SHORTEST, TOPIC_SIZE, write_sample

    for name, least in (("users", 2), ("items", 2 * TOPIC_SIZE), ("longest", SHORTEST)):
        if getattr(args, name) < least:
            fail(f"--{name} is {getattr(args, name)}; it must be at least {least}", 2)
    if unknown := [mm_id for mm_id in args.mm_emb_id if mm_id not in WIDTHS]:
        fail(f"--mm_emb_id {unknown[0]} is none of {', '.join(WIDTHS)}", 2)
    widths = {mm_id: args.width for mm_id in args.mm_emb_id} if args.width else None
    with exit_on_failure(args.output_dir):
        ids = tuple(args.mm_emb_id)
        world = write_sample(args.output_dir, args.users, args.items, args.seed, ids, widths, args.longest)
    events = sum(len(walk) for walk in world.walks[: args.users])
    note("sample", f"{args.users:,} users, {args.items:,} items, {events:,} interactions -> {args.output_dir}")


if __name__ == "__main__":
    main(parse())

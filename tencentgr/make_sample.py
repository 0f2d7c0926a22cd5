"""Write a data set in the competition's formats with known structure, to try everything on.

cd tencentgr && python make_sample.py --output_dir ../outputs/tencentgr_sample --users 2000 --items 1000
"""

from __future__ import annotations

from genrec.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before the imports below

from genrec.cli import call
from genrec.commandline import parse
from genrec.errors import exit_on_failure
from genrec.launch import note
from genrec.lock import only_writer
from tencentgr.options import SampleOptions, sample_program


def main(options: SampleOptions) -> None:
    from tencentgr.generator import write_sample

    ids = tuple(options.mm_emb_id)
    widths = dict.fromkeys(ids, options.width) if options.width else None
    with exit_on_failure(options.output_dir), only_writer(options.output_dir):
        world = write_sample(
            options.output_dir, options.users, options.items, options.seed, ids, widths, options.longest
        )
    events = sum(len(walk) for walk in world.walks[: options.users])
    note("sample", f"{options.users:,} users, {options.items:,} items, {events:,} interactions -> {options.output_dir}")


def run() -> None:
    main(parse(sample_program(__doc__)).config)


if __name__ == "__main__":
    call(run)

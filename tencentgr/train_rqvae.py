"""Semantic IDs of creatives from their multimodal vectors: semantic_id_dict.json, to be put into the data directory.

cd tencentgr && python train_rqvae.py --data_dir DATA --output_dir DATA --mm_emb_id 81 82 83 --num_quantizers 4
python train_rqvae.py --data_dir DATA --output_dir DATA --mm_emb_id 81 82 83 --add    # creatives that came since
"""

from __future__ import annotations

from genrec.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before the imports below

from genrec.cli import call
from genrec.commandline import parse
from genrec.errors import exit_on_failure
from genrec.launch import hold_back_notes, set_waiting_policy
from tencentgr.options import RqvaeOptions, rqvae_program


def main(options: RqvaeOptions, clean: bool = False) -> None:
    set_waiting_policy()
    hold_back_notes()
    with exit_on_failure(options.output_dir):
        from tencentgr import rqvae

        if options.add:
            rqvae.add(options)
        else:
            rqvae.train(options, clean)


def run() -> None:
    command = parse(rqvae_program(__doc__))
    main(command.config, command.clean)


if __name__ == "__main__":
    call(run)

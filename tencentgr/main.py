"""Train the TencentGR model, or recommend with one.

Reads   --data_dir (TRAIN_DATA_PATH; default ./data) in the competition's formats, or a prepared run of genrec
        (--source run --run_dir DIR)
Writes  logs/{train.log, best_model.safetensors, .pt, .json, checkpoint.safetensors, global_step*/,
        evaluation/results.json}, tb_logs/; with --inference_only results/result.jsonl and the index files beside it

cd tencentgr
python main.py --batch_size 128 --learning_rate 0.001 --num_epochs 10
python main.py --use_adaptive_similarity --use_smart_sampling --similarity_types dot cosine scaled
python main.py --config config.yaml --hidden_size 128          (flags win over the file)
torchrun --nproc_per_node=2 main.py --batch_size 64
python main.py --inference_only --state_dict_path ./logs/best_model.pt

The same command again goes on where a killed run was. Another command in the same directories moves the files of the
run before into earlier-1/, earlier-2/, ...
"""

from __future__ import annotations

from genrec.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before the imports below

from genrec.cli import call
from genrec.errors import exit_on_failure
from genrec.launch import hold_back_notes, set_waiting_policy
from tencentgr.options import TencentGROptions, parse


def main(options: TencentGROptions, clean: bool = False) -> None:
    set_waiting_policy()
    hold_back_notes()
    with exit_on_failure(options.result_dir if options.inference_only else options.models):
        if options.inference_only:
            from tencentgr.inference import infer

            infer(options)
        else:
            from tencentgr.training import train

            train(options, clean)


def run() -> None:
    command = parse(doc=__doc__)
    main(command.config, command.clean)


if __name__ == "__main__":
    call(run)

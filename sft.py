"""Supervised fine-tuning: `genrec sft` (genrec/stages/sft.py)."""

from genrec.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "sft")

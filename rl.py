"""Reinforcement learning from the SFT model: `genrec rl` (genrec/stages/rl.py)."""

from genrec.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "rl")

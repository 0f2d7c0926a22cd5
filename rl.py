"""Reinforcement learning from the SFT model: `genrec rl` (genrec/stages/rl.py).

Called again with other settings it begins a new run from the first, <run>_2.
"""

from genrec.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "rl", when_changed="new_run")

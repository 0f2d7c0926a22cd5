"""Train the sequential baselines: `genrec sequential` (genrec/stages/sequential.py)."""

from genrec.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "sequential")

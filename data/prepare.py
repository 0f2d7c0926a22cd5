"""Raw reviews and item texts -> catalogue, sequences, splits: `genrec prepare` (genrec/stages/prepare.py)."""

from genrec.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "prepare")

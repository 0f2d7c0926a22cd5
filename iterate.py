"""Analyse, change, run again, keep what is better: `genrec iterate` (genrec/stages/iterate.py)."""

from genrec.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "iterate")

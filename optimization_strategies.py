"""What to change so that fewer cases are bad: `genrec advise` (genrec/stages/advise.py)."""

from genrec.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "advise")

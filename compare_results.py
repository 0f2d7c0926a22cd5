"""Did it help? `genrec compare` (genrec/stages/compare.py)."""

from genrec.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "compare")

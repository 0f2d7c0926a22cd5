"""Why a model missed: `genrec analyze` (genrec/stages/analyze.py)."""

from genrec.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "analyze")

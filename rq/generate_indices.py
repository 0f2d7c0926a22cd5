"""Item vectors -> semantic IDs by `--method`: `genrec sids` (genrec/stages/sids.py)."""

from genrec.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "sids")

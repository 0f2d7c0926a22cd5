"""Export to MiniOneRec's layout: `genrec convert` (genrec/stages/convert.py)."""

from genrec.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "convert")

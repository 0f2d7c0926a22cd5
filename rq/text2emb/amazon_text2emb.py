"""Item texts -> sentence vectors: `genrec embed` (genrec/stages/embed.py)."""

from genrec.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "embed")

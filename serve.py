"""Lists by HTTP: `genrec serve` (genrec/stages/serve.py)."""

from genrec.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "serve")

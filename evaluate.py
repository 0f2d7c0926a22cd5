"""HR, NDCG and MRR on held-out rows: `genrec evaluate` (genrec/stages/evaluate.py)."""

from genrec.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "evaluate")

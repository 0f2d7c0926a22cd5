"""RQ-Kmeans+: constrained codebooks, refined together with z = x + MLP(x) (`genrec sids --method rqkmeans_plus`).

After rq/rqkmeans_constrained.py with the same settings, its codebooks are taken over; else they are learned first.
"""

from genrec.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "sids", method="rqkmeans_plus")

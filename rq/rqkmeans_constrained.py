"""Constrained RQ-Kmeans, codes that all hold as many items: `genrec sids --method rqkmeans_constrained`."""

from genrec.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "sids", method="rqkmeans_constrained")

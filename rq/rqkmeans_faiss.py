"""RQ-Kmeans by faiss: seconds, but many collisions before they are resolved; `genrec sids --method rqkmeans`."""

from genrec.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "sids", method="rqkmeans")

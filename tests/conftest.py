"""Processes that tests start import the package of this checkout, installed or not, and take Ctrl-C.

A shell starts what it puts in the background with SIGINT ignored, and children inherit that.
"""

import os
import signal

from tests import ROOT

os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONG = ("tests/test_document_walk.py", "tests/test_pipeline.py")  # begun first: a process that ends late waits alone


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))

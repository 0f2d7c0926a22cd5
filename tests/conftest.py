"""Processes that tests start import the package of this checkout, whether it is installed or not."""

import os

from tests import ROOT

os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))

"""Runs the command line with fakes in the place of both models, in a process of its own."""

import os
import sys
import tempfile

os.environ["DSPY_CACHEDIR"] = tempfile.mkdtemp(prefix="pld-dspy-cache-")

import pytest

from pld_dspy.cli.commands import main
from small_runs import Models

if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        Models(patch)
        sys.exit(main())

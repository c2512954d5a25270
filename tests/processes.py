"""Compiles in processes of their own."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent


class Compiles:
    """Makes a process for each compile by forking one that has its imports, which take seconds, done."""

    def __init__(self, *, hash_seed="0"):
        """Start the process; `hash_seed` is the seed of the order of sets and of `hash`."""
        paths = [str(TESTS), str(TESTS.parent)]
        self._process = subprocess.Popen(
            [sys.executable, str(TESTS / "compile_once.py")],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def run(self, folder, *end, calls=None):
        """Return the exit code, what was found (None if nothing), and the calls answered so far.

        Args:
            folder: Run folder.
            end: Kind, number and manner of the call that the process does not survive.
            calls: File that counts the calls; by default one in the folder.
        """
        folder.mkdir(exist_ok=True)
        calls = calls or folder / "calls.txt"
        found = calls.with_name("found.json")
        found.unlink(missing_ok=True)
        request = [str(folder), str(calls), str(found), *end]
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        counted = (
            Counter(calls.read_text(encoding="utf-8").split()) if calls.exists() else Counter()
        )
        return code, json.loads(found.read_text()) if code == 0 else None, counted

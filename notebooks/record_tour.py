"""Record the model's answers that `01_first_tour.ipynb` replays.

Run `python notebooks/record_tour.py` after a change of a prompt, of a key in the run folder, or of
the notebook's settings. The cells of the notebook are run as they stand, with the real local model
(1.1 GB, downloaded once) in the place of the record, and `data/tour_run` is replaced by what was
asked. It takes about ten minutes on two cores. A recording that was stopped leaves the old one in
place, and goes on from `.cache/tour` at the next start. To ask only what the old record lacks, copy
it there first; what this run does not ask for is not kept.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Container
from pathlib import Path
from typing import Any

from pld_dspy.ledger.store import Record, StageStore

HERE = Path(__file__).resolve().parent
NOTEBOOK = HERE / "01_first_tour.ipynb"
RECORD = HERE / "data" / "tour_run"
SCRATCH = HERE.parent / ".cache" / "tour"
STAGES = ("traces", "rules", "words", "refine", "answers")
"""Stages that hold a model's answers; clocks and the tracked run are of no use to a replay."""


def main() -> None:
    """Run the notebook on the real model, then put its run folder in the place of the record."""
    os.environ["PLD_TOUR_RECORD"] = str(SCRATCH)
    os.chdir(HERE)
    used = note_keys()
    run_cells(NOTEBOOK)
    replace_record(SCRATCH, used)
    shutil.rmtree(SCRATCH)


def note_keys() -> set[str]:
    """Return a set that the keys of the records are added to which stores look for from now on."""
    used: set[str] = set()
    look = StageStore.get

    def noting(store: StageStore, stage: str, key: str) -> Record | None:
        used.add(key)
        return look(store, stage, key)

    StageStore.get = noting  # type: ignore[assignment,method-assign]
    return used


def run_cells(notebook: Path) -> None:
    """Run the code cells in order, in one namespace, and say how long each took."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    for number, source in enumerate(sources, 1):
        start = time.monotonic()
        exec(compile(source, f"{notebook.name}, code cell {number}", "exec"), namespace)
        print(f"== cell {number} of {len(sources)}: {time.monotonic() - start:.0f} s", flush=True)


def replace_record(folder: Path, used: Container[str]) -> None:
    """Put the records with a used key where the notebook reads them."""
    missing = [stage for stage in STAGES if not (folder / f"{stage}.jsonl").exists()]
    if missing:
        sys.exit(f"nothing was recorded of {', '.join(missing)}; the old record stays")
    shutil.rmtree(RECORD, ignore_errors=True)
    RECORD.mkdir(parents=True)
    for stage in STAGES:
        lines = (folder / f"{stage}.jsonl").read_text(encoding="utf-8").split("\n")
        kept = [f"{line}\n" for line in lines if line and json.loads(line)["key"] in used]
        (RECORD / f"{stage}.jsonl").write_text("".join(kept), encoding="utf-8")


if __name__ == "__main__":
    main()

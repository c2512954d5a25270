"""Where cells run: each in a process of its own, on this machine or on those of a Ray cluster."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from experiments.bench.cells import Cell
from pld_dspy.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]
RETRIES = 3
"""Times that a cell is run again after its machine was lost."""

Budget = Callable[[Cell], int | None]
"""The calls that a cell may make; it can be told once the cell that sets them has its line."""
Ended = Callable[[Cell, str | None], None]
"""Called with a cell and why it left no line; None if it left one."""


def run_here(
    cells: Sequence[Cell],
    command: Callable[[Cell], Sequence[str]],
    *,
    logs: Path,
    begun: Callable[[Cell, Path], None],
    ended: Ended,
    jobs: int = 1,
) -> None:
    """Run the cells, each in a process of its own; one that dies stops no other.

    Args:
        cells: What is run, in this order; a cell whose budget another one sets starts after that one.
        command: Arguments of Python that run a cell and add its line.
        logs: Folder of what the processes print: optimizers print much.
        begun: Called with the cell and its log before it starts, in the caller's thread.
        ended: Called after it, in the caller's thread.
        jobs: Most cells that run at the same time.
    """
    logs.mkdir(parents=True, exist_ok=True)
    waiting = list(cells)
    running: dict[Future[int], Cell] = {}
    with ThreadPoolExecutor(jobs) as pool:
        while waiting or running:
            for cell in _ready(waiting, running.values())[: jobs - len(running)]:
                waiting.remove(cell)
                log = logs / f"{cell.name.replace('/', '-')}.log"
                begun(cell, log)
                running[pool.submit(_run, command(cell), log)] = cell
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                code = future.result()
                problem = None if code == 0 else f"its process ended with {code}"
                ended(running.pop(future), problem)


def _run(arguments: Sequence[str], log: Path) -> int:
    with log.open("w", encoding="utf-8") as file:
        return subprocess.run(
            [sys.executable, *arguments], stdout=file, stderr=file, check=False
        ).returncode


def _ready(waiting: Sequence[Cell], running: Iterable[Cell]) -> list[Cell]:
    """Return the cells that wait for no other one."""
    ahead = {*waiting, *running}
    return [cell for cell in waiting if cell.pays == cell or cell.pays not in ahead]


def run_on_ray(
    cells: Sequence[Cell],
    work: Callable[..., str],
    *,
    address: str,
    budget: Budget,
    arguments: Mapping[str, Any],
) -> Iterator[tuple[Cell, str | None, str | None]]:
    """Yield each cell once with its line or with why it has none, in the order in which they end.

    A cell of a machine that is lost is run again on another. The machines need the repository at
    the same place, with its environment; lines are for the caller to write down.

    Args:
        cells: What is run; a cell whose budget another one sets starts after that one.
        work: Runs a cell: called with its name, its budget and `arguments`, it returns the line.
        address: Of the cluster, such as `auto` or `ray://host:10001`.
        budget: Tells a cell's budget; asked when everything that it waits for has been yielded.
        arguments: Passed on to `work`.

    Raises:
        ConfigError: Ray is not installed, or the cluster does not answer.
    """
    ray = _connect(address)
    # A process a cell: an optimizer may leave anything behind.
    remote = ray.remote(max_calls=1, max_retries=RETRIES, num_cpus=1)(work)
    waiting = list(cells)
    running: dict[Any, Cell] = {}
    try:
        while waiting or running:
            for cell in _ready(waiting, running.values()):
                waiting.remove(cell)
                try:
                    calls = budget(cell)
                except ConfigError as error:
                    yield cell, None, str(error)
                else:
                    running[remote.remote(cell.name, calls, **arguments)] = cell
            if running:
                yield _first(ray, running)
    finally:
        ray.shutdown()


def _first(ray: Any, running: dict[Any, Cell]) -> tuple[Cell, str | None, str | None]:
    """Return the cell that ends first, which runs no longer."""
    (reference, *_), _ = ray.wait(list(running), num_returns=1)
    cell = running.pop(reference)
    try:
        return cell, ray.get(reference), None
    except ray.exceptions.RayError as error:
        return cell, None, str(error).strip().splitlines()[-1]


def _connect(address: str) -> Any:
    try:
        import ray
    except ImportError as error:
        msg = "--ray needs ray of the extra `compare`; run `make rivals`"
        raise ConfigError(msg) from error
    names = ("PLD_DATA_DIR", "PLD_CACHE_DIR", "LITELLM_LOCAL_MODEL_COST_MAP")
    passed = {name: os.environ[name] for name in names if name in os.environ}
    path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        ray.init(
            address,
            runtime_env={"env_vars": {**passed, "PYTHONPATH": path}},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        msg = f"no Ray cluster answers at {address!r}: {str(error).splitlines()[0]}; start one with `ray start --head`"
        raise ConfigError(msg) from error
    return ray

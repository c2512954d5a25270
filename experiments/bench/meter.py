"""One meter for every optimizer: calls, tokens and seconds at the LM, and a cap that ends the search."""

import importlib
import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dspy
from dspy.clients.backend_selection import CLIENT_KEYS
from dspy.lm15 import Request, Response
from dspy.utils.callback import BaseCallback
from dspy.utils.callback_context import ACTIVE_CALL_ID

from pld_dspy.ledger.store import Spent, StageStore, key_of
from pld_dspy.ledger.usage import total
from pld_dspy.models.lm import model_name

Role = Literal["student", "teacher"]
ROLES: tuple[Role, ...] = ("student", "teacher")

# The form in which DSPy itself keeps requests and answers; it has no public name in 3.4. Not an
# import statement: mypy would then take the untyped package around this typed module for empty.
_forms: Any = importlib.import_module("dspy._vendor.lm15.serde")


class BudgetSpentError(BaseException):
    """The cell has made all the calls it may. No `Exception`: optimizers swallow those and go on."""


@dataclass(slots=True)
class Count:
    """What one role was asked."""

    model: str = ""
    calls: int = 0
    """Requests sent to the model, one an answer: `n=4` is four."""
    replayed: int = 0
    """Those of `calls` that an earlier process has paid for."""
    input_tokens: int = 0
    output_tokens: int = 0


class Meter(BaseCallback):
    """Counts what the models are asked; beyond the cap it raises instead of asking."""

    def __init__(self, cap: int | None = None) -> None:
        """Count from nothing.

        Args:
            cap: Most calls of both roles together; None is no limit.
        """
        self.cap = cap
        self.counts: dict[Role, Count] = {role: Count() for role in ROLES}
        self.cached_calls = 0
        """Calls that DSPy's cache answered before they reached the model."""
        self.stopped = False
        self._lock = threading.Lock()
        self._seconds: dict[Role, list[float]] = {role: [] for role in ROLES}
        self._replayed_s = 0.0
        self._reached: set[str] = set()

    @property
    def calls(self) -> int:
        """Calls of both roles."""
        return sum(count.calls for count in self.counts.values())

    @property
    def replayed_s(self) -> float:
        """Seconds that the replayed calls took when they were paid for."""
        return self._replayed_s

    def median_s(self, role: Role) -> float | None:
        """Return the median seconds of a call; None if there was none."""
        return statistics.median(self._seconds[role]) if self._seconds[role] else None

    def start(self, role: Role, model: str) -> None:
        """Count a call that is about to be made.

        Raises:
            BudgetSpentError: The cap is reached; the call is not counted.
        """
        with self._lock:
            if self.cap is not None and self.calls >= self.cap:
                self.stopped = True
                raise BudgetSpentError
            self.counts[role].calls += 1
            self.counts[role].model = model
            self._reached.add(str(ACTIVE_CALL_ID.get()))

    def end(self, role: Role, response: Response, seconds: float, *, replayed: bool) -> None:
        """Count what the call took."""
        usage = response.usage
        with self._lock:
            count = self.counts[role]
            count.input_tokens += int(usage.input_tokens or 0) if usage else 0
            count.output_tokens += int(usage.output_tokens or 0) if usage else 0
            self._seconds[role].append(seconds)
            if replayed:
                count.replayed += 1
                self._replayed_s += seconds

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """Count a call that never reached the model; DSPy calls this after each."""
        with self._lock:
            if call_id in self._reached:
                self._reached.discard(call_id)
            elif exception is None:
                self.cached_calls += 1

    def cost_usd(self) -> float | None:
        """Return the price of all calls by litellm's table; None if a model is not in it."""
        spent = [
            Spent(
                role=role,
                calls=count.calls,
                input_tokens=count.input_tokens,
                output_tokens=count.output_tokens,
                model=count.model,
            )
            for role, count in self.counts.items()
            if count.calls
        ]
        costs = [usage.cost_usd for usage in total(spent).values()]
        return None if None in costs else float(sum(cost for cost in costs if cost is not None))


class Tape:
    """Answers by request, so that a cell that was stopped, or one like it, pays for none twice.

    A replayed call counts as a call, with its tokens and its seconds: the tape changes what a
    repetition costs, and no number of a line. A request that samples is a new one each time it is
    asked within a process, so that the second sample is not the first.
    """

    def __init__(self, folder: Path | None = None, name: str = "asked") -> None:
        """Keep the answers in a file of the folder, and answer from all of them.

        Args:
            folder: None keeps them in memory.
            name: Of the file. Each process has its own, since others may be writing theirs.
        """
        self._store = StageStore(folder)
        self._name = name
        self._others = _records(folder, name)
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def key(self, request: Request) -> str:
        """Return the key of this asking of the request."""
        asked = _forms.request_to_dict(request)
        digest = key_of(asked)
        if (asked.get("config") or {}).get("temperature") == 0:
            return digest
        with self._lock:
            number = self._asked[digest]
            self._asked[digest] += 1
        return f"{digest}-{number}"

    def get(self, key: str) -> tuple[Response, float] | None:
        """Return the answer and the seconds that it took."""
        record = self._store.get(self._name, key) or self._others.get(key)
        if record is None:
            return None
        return _forms.response_from_dict(record["response"]), float(record["seconds"])

    def put(self, key: str, response: Response, seconds: float) -> None:
        """Keep the answer."""
        record = {"seconds": seconds, "response": _forms.response_to_dict(response)}
        self._store.put(self._name, key, record)


def _records(folder: Path | None, name: str) -> dict[str, dict[str, Any]]:
    """Return what other processes have on their tapes; a line under way is left to them."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.jsonl")) if folder is not None else ():
        lines = path.read_bytes().split(b"\n")[:-1] if path.stem != name else []
        for line in lines:
            try:
                record = json.loads(line)
                found[record["key"]] = record
            except (ValueError, KeyError, TypeError):
                continue
    return found


class MeteredEngine:
    """A DSPy engine that asks another LM, counts it, and asks the tape first."""

    def __init__(self, inner: dspy.LM, role: Role, meter: Meter, tape: Tape) -> None:
        """Ask `inner` as `role`."""
        # The cache of DSPy stands before the meter, not behind it.
        self.inner = inner.copy(cache=False)
        self.role = role
        self.meter = meter
        self.tape = tape

    def complete(self, request: Request) -> Response:
        """Return the answer of the inner LM, or the one on the tape.

        Raises:
            BudgetSpentError: The cell may make no further call.
            LMError: The model gives no answer.
        """
        self.meter.start(self.role, model_name(self.inner))
        key = self.tape.key(request)
        known = self.tape.get(key)
        if known is not None:
            response, seconds = known
            self.meter.end(self.role, response, seconds, replayed=True)
            return response
        began = time.monotonic()
        # The outer LM's own callbacks and trackers see this call already.
        with dspy.context(callbacks=[], usage_tracker=None, disable_history=True):
            answer: Response = self.inner(request)
        seconds = time.monotonic() - began
        self.tape.put(key, answer, seconds)
        self.meter.end(self.role, answer, seconds, replayed=False)
        return answer

    def __deepcopy__(self, memo: Mapping[int, Any]) -> "MeteredEngine":
        """Return this engine: a copied program is metered here too."""
        return self


def metered_lm(
    inner: dspy.LM, role: Role, meter: Meter, tape: Tape, *, cache: bool = True, **changes: Any
) -> dspy.LM:
    """Return an LM that answers as `inner` does, through the meter.

    Args:
        inner: The model; retries are its own, and count as one call.
        role: Whose calls they are.
        meter: What counts them.
        tape: What answers in the model's place where it can.
        cache: Whether DSPy's cache stands before the meter.
        **changes: Settings of the request that differ, such as `max_tokens`.
    """
    settings = {k: v for k, v in inner.kwargs.items() if k not in CLIENT_KEYS} | changes
    engine = MeteredEngine(inner, role, meter, tape)
    return dspy.LM(inner.model, engine=engine, cache=cache, num_retries=0, **settings)


def role_of(lm: Any) -> Role | None:
    """Return whose calls `lm` makes; None if it is not metered."""
    engine = getattr(lm, "engine", None)
    return engine.role if isinstance(engine, MeteredEngine) else None

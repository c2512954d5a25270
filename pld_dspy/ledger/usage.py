"""Usage: calls and tokens counted at the LM, also under threads, and their price."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback
from dspy.utils.usage_tracker import UsageTracker

from pld_dspy.ledger.store import Spent
from pld_dspy.records import Usage


class _Tracker(UsageTracker):
    """Adds up billed tokens and passes them on to the tracker of the caller, if there is one."""

    def __init__(self, outer: UsageTracker | None) -> None:
        super().__init__()
        self._outer = outer
        self._lock = threading.Lock()
        self.billed = 0
        self.reported = 0
        """Billed calls whose tokens the endpoint told."""
        self.input_tokens = 0
        self.output_tokens = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Tracker":
        # DSPy's executor copies the tracker for each task, and the copies are never added up.
        return self

    def add_usage(self, lm: str, usage_entry: dict[str, Any]) -> None:
        with self._lock:
            self.billed += 1
            read = _tokens(usage_entry, "prompt_tokens", "input_tokens")
            self.reported += read > 0
            self.input_tokens += read
            self.output_tokens += _tokens(usage_entry, "completion_tokens", "output_tokens")
        if self._outer is not None:
            self._outer.add_usage(lm, usage_entry)


class Meter(BaseCallback):
    """Counts the LM calls made while it is among the callbacks."""

    def __init__(self, outer: UsageTracker | None = None) -> None:
        self.tracker = _Tracker(outer)
        self._lock = threading.Lock()
        self.calls = 0
        self.prompts: list[str] = []
        """The text of each request."""

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Note the text of a request; DSPy calls this before each."""
        messages = inputs.get("messages") or [{"content": inputs.get("prompt") or ""}]
        text = "\n".join(str(message.get("content") or "") for message in messages)
        with self._lock:
            self.prompts.append(text)

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """Count one answered call; DSPy calls this after each."""
        if exception is None:
            with self._lock:
                self.calls += 1

    def spent(self, role: str, model: str) -> dict[str, Any]:
        """Return the counts as a stored record holds them."""
        return {
            "role": role,
            "calls": self.calls,
            "cached_calls": max(0, self.calls - self.tracker.billed),
            "input_tokens": self.tracker.input_tokens,
            "output_tokens": self.tracker.output_tokens,
            "model": model,
        }


@contextmanager
def metered() -> Iterator[Meter]:
    """Count every LM call made in this context, and in threads that DSPy starts from it."""
    meter = Meter(dspy.settings.usage_tracker)
    with dspy.context(callbacks=[*dspy.settings.callbacks, meter], usage_tracker=meter.tracker):
        yield meter


def total(spent: Iterable[Spent]) -> dict[str, Usage]:
    """Return the sum by role, with the price where every model's price is known."""
    by_role: dict[str, list[Spent]] = {}
    for entry in spent:
        by_role.setdefault(entry.role, []).append(entry)
    return {
        role: Usage(
            calls=sum(e.calls for e in entries),
            cached_calls=sum(e.cached_calls for e in entries),
            input_tokens=sum(e.input_tokens for e in entries),
            output_tokens=sum(e.output_tokens for e in entries),
            cost_usd=_cost(entries),
        )
        for role, entries in sorted(by_role.items())
    }


def measures(usage: Mapping[str, Usage]) -> dict[str, float]:
    """Return the usage of each role as metrics of a tracked run; unknown prices are left out."""
    return {
        f"usage/{role}_{name}": float(value)
        for role, spent in usage.items()
        for name, value in asdict(spent).items()
        if value is not None
    }


def _cost(entries: Iterable[Spent]) -> float | None:
    by_model: dict[str, tuple[int, int]] = {}
    for entry in entries:
        read, written = by_model.get(entry.model, (0, 0))
        by_model[entry.model] = (read + entry.input_tokens, written + entry.output_tokens)
    if not by_model or any("@" in model for model in by_model):
        return None  # a local model: its price is the reader's electricity
    import litellm

    prices: dict[str, dict[str, Any]] = litellm.model_cost
    cost = 0.0
    for model, (read, written) in by_model.items():
        price = prices.get(model) or prices.get(model.split("/", 1)[-1])
        for tokens, key in ((read, "input_cost_per_token"), (written, "output_cost_per_token")):
            if tokens and (price or {}).get(key) is None:
                return None  # an embedder, say, has no price for what it does not write
            cost += tokens * float((price or {}).get(key) or 0.0)
    return cost


def _tokens(entry: dict[str, Any], *names: str) -> int:
    return next((int(entry[name]) for name in names if entry.get(name)), 0)

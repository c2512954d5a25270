"""What the panels of the comparison's pictures are, and how each optimizer is drawn in all of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from experiments.report.coverage import Setting
from experiments.report.statistics import OURS, REFERENCES, Standing, is_ours

_OURS, _VARIANTS = "#0072B2", ("#56B4E9", "#1B9AAA", "#7A5CC9", "#3D5A80")
_RIVAL = "#E3A857"
_REFERENCES = ("#6B7178", "#8D949B", "#A9B0B7")
_RIVALS = (
    "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#999933", "#882255", "#117733", "#AA4499",
)  # fmt: skip
_MARKERS = "sD^vP*X<>ph8"
_DASHES = ("-", "--", ":", "-.")


class Panel(NamedTuple):
    """What one panel shows."""

    setting: Setting
    standings: Sequence[Standing]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How an optimizer is drawn."""

    colour: str
    marker: str
    dash: str


def looks(panels: Iterable[Panel]) -> dict[str, Look]:
    """Return how each optimizer is drawn, PLD's searched list first, then by name."""
    names = {s.optimizer for panel in panels for s in panel.standings}
    references = [r for r in REFERENCES if r in names]
    variants = sorted(n for n in names if is_ours(n) and n != OURS)
    rivals = sorted(n for n in names if not is_ours(n) and n not in REFERENCES)
    found = {OURS: Look(colour=_OURS, marker="o", dash="-")} if OURS in names else {}
    groups = ((variants, _VARIANTS), (rivals, _RIVALS), (references, _REFERENCES))
    for group, colours in groups:
        for number, optimizer in enumerate(group):
            found[optimizer] = Look(
                colour=colours[number % len(colours)],
                marker=_MARKERS[(len(found) - 1) % len(_MARKERS)],
                dash=_DASHES[number // len(colours) % len(_DASHES)],
            )
    return found


def bar_colour(optimizer: str) -> str:
    """Return the colour of a bar that stands beside its name: PLD, a rival or a reference."""
    if optimizer in REFERENCES:
        return _REFERENCES[-1]
    return _OURS if optimizer == OURS else _VARIANTS[0] if is_ours(optimizer) else _RIVAL

"""Style of the pictures: light background, readable type, titles at the left edge."""

import re
import textwrap
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import matplotlib.style
from matplotlib.figure import Figure

INK, GREY = "#222222", "#8A8A8A"
BLUE, ORANGE = "#0072B2", "#D55E00"
_STYLE = {
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "legend.frameon": False,
    "figure.titlesize": 12,
    "text.parse_math": False,  # a label may hold a dollar sign
}
_P = ParamSpec("_P")


def picture_file(stem: str, predictor: str = "") -> str:
    """Return the file name of a picture, with the predictor's name where a program has several.

    >>> picture_file("gains"), picture_file("gains", "steps[0].predict")
    ('gains.png', 'gains-steps_0_.predict.png')
    """
    suffix = "-" + re.sub(r"[^\w.]+", "_", predictor) if predictor else ""
    return f"{stem}{suffix}.png"


def styled(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Draw on white in plain style, whatever style the caller's session has."""

    @wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        with matplotlib.style.context(["default", _STYLE]):
            return draw(*args, **kwargs)

    return drawn


def figure_title(figure: Figure, text: str) -> None:
    """Write a title that starts at the left edge of the figure, not of the axes."""
    figure.suptitle(text, x=0.01, ha="left", color=INK)


def metric_name(metric: str) -> str:
    """Return the name of a metric as people write it."""
    return {"macro_f1": "macro-F1", "mcc": "MCC"}.get(metric, metric)


def wrap(text: str, width: int, lines: int) -> str:
    r"""Return `text` in at most `lines` lines of about `width` characters.

    A word is broken only if it is far longer than a line.

    >>> wrap("Permissible acquirement of similar information", 16, 2)
    'Permissible\nacquirement of …'
    """
    long = max(map(len, text.split()), default=0) > 1.5 * width
    made = textwrap.wrap(text, width, max_lines=lines, placeholder=" …", break_long_words=long)
    return "\n".join(made)

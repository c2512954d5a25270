"""The last sections of the page: the paper's figures, how the numbers were made, and from what."""

from collections.abc import Iterable, Sequence

from experiments.bench.lines import Line
from experiments.report.findings import budget_shares
from experiments.report.knowledge import known
from experiments.report.resampling import RESAMPLES, SEED
from experiments.report.statistics import OURS
from experiments.report.tables import NONE, table

PAPER = (
    ("StereoSet", "macro-F1", "0.57", "0.75", "0.89", "0.87", "0.90"),
    ("Contract-NLI", "macro-F1", "0.67", "0.70", "0.76", "0.74", "0.83"),
    ("LogiQA", "accuracy", "0.67", NONE, "0.67", "0.69", "0.70"),
)
"""Gemma-3 4B: zero-shot, 5-shot, LoRA, TextGrad and PLD, as the paper's main table has them."""


_KNOWLEDGE = (
    "The decision layer chooses the label with the largest corrected probability. The correction, one of "
    "none, mean log-probabilities, offsets, and offsets with a temperature (with a topic: in proportion to "
    "its label shares in train), is chosen by cross-validation on the program's answers on `val` and "
    "`select`, whatever the optimizer. The requests for these answers are in no count of the tables.",
    "A gain in separability is paired, over 2000 resamples of the test examples of a seed. Over several "
    "seeds its standard error is that of the examples or that of the seeds, whichever is larger. "
    "A row adds none where the interval reaches 0.",
    "Labelled examples: those that the program was made from; `val` and `select` of the decision layer are "
    "not in them.",
)


def sections(lines: Sequence[Line]) -> list[str]:
    """Return the sections in Markdown."""
    return [_paper(), _method(lines), _provenance(lines)]


def _paper() -> str:
    head = ["Gemma-3 4B", "metric", "zero-shot", "5-shot", "LoRA", "TextGrad", "PLD"]
    return (
        "## As the paper reports, not run here\n\nAnother student (Gemma-3 4B), other splits and prompts, "
        "no intervals: these figures cannot be set against the tables above. LoRA was not run.\n\n"
        f"{table(head, PAPER)}"
    )


def _method(lines: Sequence[Line]) -> str:
    shares = budget_shares(lines)
    matched = (
        f" What a matched cell might call, over its multiple of what {OURS} called: {shares[0]:.2f} to "
        f"{shares[-1]:.2f} in these lines."
        if shares
        else ""
    )
    listed = [
        "Macro-F1 is the mean F1 over the gold labels; an answer that cannot be read is wrong, and so "
        "is a test example on which the program crashed; their number stands in the tables.",
        f"Intervals are 95% percentile intervals of {RESAMPLES} resamples (seed {SEED}). A resample draws "
        "seeds with replacement and, within each drawn seed, its test examples with replacement; the score "
        "is the mean over the drawn seeds. With one seed only examples are drawn, so the interval says "
        "nothing of other seeds. With few seeds the part that comes from seeds is too narrow, by the factor "
        "(seeds - 1) / seeds in the variance.",
        "Differences are paired: the same seeds and examples are drawn for both. Only seeds that both have, "
        "with the same test examples, count.",
        "Ranks are by the mean score over the seeds that an optimizer has, which its row counts. "
        "Near first: the interval of the first minus this one, on common seeds, reaches 0. Choosing the "
        "first by its score favours it a little.",
        "McNemar's test is exact and two-sided, on the answers of all common seeds together, against "
        f"{OURS}. It takes answers as independent; where seeds share test examples, it is too sure. Holm's "
        "correction is over the rivals of one table that are no variant of PLD.",
        f"A table of budget `x1` or `x3` holds the cells that might make that many times the calls of {OURS}, "
        "and those that spend nothing or set the budget. An optimizer that uses no traces stands in the "
        f"tables of both kinds of traces; its budget is then that of {OURS} with the teacher's traces.{matched}",
        *(_KNOWLEDGE if known(lines) else ()),
        "Seconds are what passed while a cell ran, and are the mean over the cells that ran with no other cell "
        "beside them; calls and tokens do not depend on that.",
        "Validation minus test: the score of the kept program on `val` and `select` together, minus its "
        "test score.",
        "Requests to break even: the input and output tokens of the search, of all models, divided by the "
        "tokens that one answer saves against the teacher with chain of thought. Empty where an answer's "
        "output tokens are not in the lines, or nothing is saved. A token of either model counts the same.",
    ]
    return "## How the numbers were made\n\n" + "\n".join(f"- {line}" for line in listed)


def _provenance(lines: Sequence[Line]) -> str:
    versions: dict[str, set[str]] = {}
    for line in lines:
        for package, version in line.versions.items():
            versions.setdefault(package, set()).add(version)
    listed = [
        f"commits: {_all(f'`{line.commit}`' for line in lines if line.commit)}",
        "versions: " + (", ".join(f"{k} {_all(v)}" for k, v in sorted(versions.items())) or "-"),
        f"students: {_all(line.student for line in lines)}",
        f"teachers: {_all(line.teacher for line in lines)}",
        f"seeds: {', '.join(map(str, sorted({line.seed for line in lines}))) or '-'}",
    ]
    text = "## Where the numbers come from\n\n" + "\n".join(f"- {line}" for line in listed)
    return f"{text}\n\n{_digests(lines)}"


def _all(values: Iterable[str]) -> str:
    return ", ".join(sorted(set(values))) or "-"


def _digests(lines: Iterable[Line]) -> str:
    """Return size and content hash of the splits, one row a task, kind of split and seed."""
    groups: dict[tuple[str, str, int], list[Line]] = {}
    for line in lines:
        groups.setdefault((line.task, line.split_by, line.seed), []).append(line)
    rows = []
    for (task, split, seed), own in sorted(groups.items()):
        digests: dict[str, set[str]] = {}
        for line in own:
            for part, digest in line.digests.items():
                digests.setdefault(part, set()).add(f"`{digest[:12]}`")
        told = "; ".join(f"{part} {', '.join(sorted(d))}" for part, d in sorted(digests.items()))
        sizes = sorted({line.test_n for line in own if line.score is not None})
        rows.append([task, split, str(seed), ", ".join(map(str, sizes)) or NONE, told or NONE])
    return table(["task", "split", "seed", "test n", "digests"], rows)

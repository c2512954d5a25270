"""Lines of a comparison that was never run."""

import numpy as np

from experiments.bench.lines import Line, ProgramNote
from pld_dspy.scoring.metrics import accuracy, macro_f1, metric_by_name

LABELS = ("gender", "profession", "race", "religion")


def answers(gold, rate, seed):
    """Answers that are right in about `rate` of the examples, and unreadable in few."""
    rng = np.random.default_rng(seed)
    said = [g if rng.random() < rate else str(rng.choice(LABELS)) for g in gold]
    return tuple(None if rng.random() < 0.01 else s for s in said)


def line(optimizer="pld-searched", *, rate=0.8, seed=0, n=60, **keys):
    """A scored line; the gold labels depend on the seed, the student as given has 0.55."""
    gold = tuple(np.random.default_rng(seed).choice(LABELS, size=n).tolist())
    metric = metric_by_name(keys.get("metric", "macro_f1"))
    number = sum(map(ord, optimizer)) + 1000 * seed
    given = answers(gold, 0.4, seed + 17)
    said = keys.pop("said", None) or (
        given if optimizer == "zero-shot" else answers(gold, rate, number)
    )
    score = metric(gold, said)
    parts = {
        "task": "stereoset", "student": "qwen-0.5b", "teacher": "qwen-1.5b", "traces": "teacher",
        "split_by": "item", "budget": "own" if optimizer.startswith(("pld", "zero-shot", "teacher-cot")) else "x1",
    }  # fmt: skip
    parts |= {key: keys.pop(key) for key in list(keys) if key in parts}
    values = {
        **parts,
        "cell": cell(optimizer, seed=seed, **parts),
        "optimizer": optimizer,
        "seed": seed,
        "status": "done",
        "test_n": n,
        "metric": metric.name,
        "score": score,
        "macro_f1": macro_f1(gold, said),
        "accuracy": accuracy(gold, said),
        "baseline_score": metric(gold, given),
        "baseline_macro_f1": macro_f1(gold, given),
        "baseline_accuracy": accuracy(gold, given),
        "val_score": min(1.0, score + 0.05),
        "unparsed_rate": said.count(None) / n,
        "failures": 0,
        "gold": gold,
        "said": said,
        "baseline_said": given,
        "student_calls": 400,
        "teacher_calls": 40,
        "input_tokens": 60_000,
        "output_tokens": 2_000,
        "wall_s": 300.0,
        "prompt_tokens": 60.0 + number % 300,
        "test_latency_s": 0.2 + number % 7 / 20,
        "curve": ((40, 0.4), (150 + 20 * (number % 5), score - 0.1), (400, score)),
        "program": ProgramNote(instructions="1. If a job is named: profession.\n2. Else: race."),
        "digests": {"test": f"{seed:04d}" * 4},
        "versions": {"dspy": "3.4.1"},
        "commit": "0123abc",
    } | keys
    return Line(**values)


def failed(optimizer, error="ran out of memory", *, seed=0, **keys):
    """A failed line."""
    good = line(optimizer, seed=seed, **keys)
    return Line(
        **{k: getattr(good, k) for k in (
            "cell", "task", "optimizer", "student", "teacher", "traces", "split_by", "seed", "budget", "metric",
        )},
        status="failed", error=error,
    )  # fmt: skip


def cell(optimizer, *, seed=0, task="stereoset", student="qwen-0.5b", teacher="qwen-1.5b",
         traces="teacher", split_by="item", budget="x1"):  # fmt: skip
    """The name of a cell."""
    return "/".join([task, optimizer, student, teacher, traces, split_by, str(seed), budget])


def write(path, lines, *, broken=()):
    """Write the lines, and broken ones after the first."""
    texts = [one.to_json() for one in lines]
    path.write_text("\n".join([*texts[:1], *broken, *texts[1:]]) + "\n", encoding="utf-8")
    return path

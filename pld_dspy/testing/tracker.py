"""Conformance suite for a `Tracker`."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

from matplotlib.figure import Figure

from pld_dspy.ledger.tracker import Status, Tracker
from pld_dspy.ledger.trackers import METHODS
from pld_dspy.records import Answer, Candidate, Evaluation
from pld_dspy.stages.common.prompt import make_candidate
from pld_dspy.stages.common.rule_text import make_rule, make_trace


class TrackerSuite:
    """Tests of a tracker; a subclass has a fixture `tracker`, a new one for each test.

    The run folder is pytest's fixture `tmp_path`.
    """

    def test_it_has_every_method(self, tracker: Tracker) -> None:
        """Each public method of `Tracker` is there and can be called."""
        missing = [name for name in METHODS if not callable(getattr(tracker, name, None))]
        assert missing == [], f"missing: {', '.join(missing)}"

    def test_it_takes_a_whole_run(self, tracker: Tracker, tmp_path: Path) -> None:
        """The calls of a compile, in order, raise nothing."""
        _start(tracker, tmp_path)
        _log_all(tracker, tmp_path)
        tracker.finish()

    def test_each_status_ends_a_run_and_another_can_start(
        self, tracker: Tracker, tmp_path: Path
    ) -> None:
        """One tracker serves several compiles, one after another."""
        for status in get_args(Status):
            _start(tracker, tmp_path / status)
            tracker.metrics({"val/score": 0.5}, step=1)
            tracker.finish(status)

    def test_a_run_without_a_folder_is_accepted(self, tracker: Tracker) -> None:
        """`run_dir` may be None, and `digests` may be left out."""
        tracker.start(name="pld", params={}, tags={}, run_dir=None)
        tracker.finish()

    def test_finish_without_an_open_run_does_nothing(
        self, tracker: Tracker, tmp_path: Path
    ) -> None:
        """It is called before `start`, and twice."""
        tracker.finish()
        _start(tracker, tmp_path)
        tracker.finish()
        tracker.finish("FAILED")

    def test_a_candidate_may_come_twice(self, tracker: Tracker, tmp_path: Path) -> None:
        """A resumed run reports earlier candidates again."""
        _start(tracker, tmp_path)
        for _ in range(2):
            tracker.candidate(CANDIDATE, SCORE)
        tracker.finish()

    def test_threads_may_call_it(self, tracker: Tracker, tmp_path: Path) -> None:
        """Scores are reported from worker threads."""
        _start(tracker, tmp_path)
        with ThreadPoolExecutor(4) as pool:
            calls = [
                pool.submit(tracker.metrics, {"val/score": n / 8}, step=n) for n in range(8)
            ] + [pool.submit(tracker.candidate, CANDIDATE, SCORE) for _ in range(4)]
            for call in calls:
                call.result()
        tracker.finish()

    def test_a_failure_after_the_start_is_not_raised(
        self, tracker: Tracker, tmp_path: Path
    ) -> None:
        """Tracking must not end a run: a missing file is a warning."""
        _start(tracker, tmp_path)
        tracker.file(tmp_path / "gone.txt")
        tracker.finish()

    def test_the_arguments_are_not_changed(self, tracker: Tracker, tmp_path: Path) -> None:
        """The optimizer uses the arguments again."""
        params: dict[str, Any] = {"seed": 0, "config": {"rules": {"draws": 1}}}
        tags, values = {"optimizer": "PLD"}, {"val/score": 0.5}
        tracker.start(name="pld", params=params, tags=tags, run_dir=tmp_path)
        tracker.metrics(values)
        tracker.finish()
        assert params == {"seed": 0, "config": {"rules": {"draws": 1}}}, "params were changed"
        assert (tags, values) == ({"optimizer": "PLD"}, {"val/score": 0.5}), "tags were changed"


_TRACE = make_trace("e1", "red", "It is red.", "If it is red, answer red.")
CANDIDATE: Candidate = make_candidate(
    "Name the colour.", [make_rule(_TRACE.rule, [_TRACE], origin="synthesis")], origin="search"
)
SCORE = Evaluation(
    candidate_id=CANDIDATE.id,
    split="val",
    metric="accuracy",
    score=0.5,
    answers=(
        Answer(example_id="e1", gold="red", answer="red", score=1.0, input_tokens=20),
        Answer(example_id="e2", gold="blue", answer=None, raw="hm", input_tokens=20),
    ),
)
_PARAMS: Mapping[str, object] = {
    "seed": 0,
    "student": "fake/lm",
    "config": {"explain": None, "rules": {"draws": 1}, "demos": {"per_label": [1, 2]}},
}


def _start(tracker: Tracker, run_dir: Path) -> None:
    run_dir.mkdir(parents=True, exist_ok=True)
    tracker.start(
        name="pld",
        params=_PARAMS,
        tags={"optimizer": "PLD"},
        run_dir=run_dir,
        digests={"train": "ab" * 32, "val": "cd" * 32},
    )


def _log_all(tracker: Tracker, folder: Path) -> None:
    """Call every method between start and finish."""
    (folder / "report").mkdir()
    (folder / "report" / "rules.txt").write_text("1. If so, answer red.", encoding="utf-8")
    figure = Figure()
    figure.subplots().plot([0, 1])
    tracker.params({"optimizer": {"seed": 1}})
    tracker.metrics({"val/score": 0.5, "val/best": 0.5}, step=1)
    tracker.metrics({"usage/student_calls": 3.0})
    tracker.candidate(CANDIDATE, SCORE, extra={"select/delta": 0.1})
    tracker.text("first line\nsecond line", "notes/rules.md")
    tracker.file(folder / "report" / "rules.txt")
    tracker.file(folder / "report", "report")
    tracker.figure(figure, "plots/scores.png")
    tracker.prompt("predict", CANDIDATE.prompt, tags={"candidate": CANDIDATE.id})

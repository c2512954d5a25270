import io

from rich.console import Console

from pld_dspy.cli.progress import RunProgress
from pld_dspy.records import Event
from pld_dspy.runs.estimate import COMPILED, GIVEN, PlannedStage


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def planned(stage, role, calls, item="", tokens=(0, 0)):
    read, written = tokens
    return PlannedStage(
        name=f"{stage} {item}",
        role=role,
        calls=calls,
        exact=False,
        input_tokens=calls * read,
        output_tokens=calls * written,
        events=stage,
        item=item,
    )


def progress_lines(stages, events):
    """The lines printed for pairs of a second and an event."""
    clock, console = Clock(), Console(file=io.StringIO(), width=200)
    with RunProgress(console, stages, clock=clock) as progress:
        for second, event in events:
            clock.now = second
            progress(event)
    return console.file.getvalue().splitlines()


def on_test(done, total, item=GIVEN):
    return Event("test", "student", done, total, item=item)


def test_a_log_gets_a_line_at_most_every_ten_seconds():
    lines = progress_lines([], [(n, on_test(n + 1, 60)) for n in range(60)])

    assert len(lines) == 6
    assert lines[0] == "student as given on test: 1/60"
    assert lines[3].startswith("student as given on test: 31/60, 29 s left")


def test_the_time_left_of_the_run_is_planned_calls_times_measured_seconds():
    stages = [planned("test", "student", 10, GIVEN), planned("test", "student", 10, COMPILED)]
    before = [(11 * n, on_test(n, 10)) for n in range(1, 11)]
    after = [(110 + 11 * n, on_test(n, 10, COMPILED)) for n in range(1, 6)]

    # 10 calls are left, at 11 s each; then 5.
    assert progress_lines(stages, before)[-1] == (
        "student as given on test: 10/10; whole run: at most about 2 min left"
    )
    assert progress_lines(stages, before + after)[-1] == (
        "compiled program on test: 5/10, 55 s left; whole run: at most about 55 s left"
    )


def test_calls_that_turned_out_needless_are_not_waited_for():
    stages = [
        planned("traces", "teacher", 100),
        planned("rules", "teacher", 4),
        planned("test", "student", 0, COMPILED),
    ]
    calls = [(20, "traces", 1, 2), (40, "traces", 2, 2), (60, "rules", 1, 4), (80, "rules", 2, 4)]
    events = [(second, Event(stage, "teacher", *counts)) for second, stage, *counts in calls]

    assert progress_lines(stages, events)[-1].endswith("whole run: at most about 40 s left")


def test_a_list_without_rules_has_none_to_leave_out():
    stages = [planned("left out", "student", 100), planned("decision", "student", 10)]
    events = [(10 * n, Event("decision", "student", n, 10)) for n in range(1, 6)]

    assert progress_lines(stages, events)[-1].endswith("whole run: at most about 50 s left")


def test_a_short_call_is_not_taken_for_a_long_one():
    stages = [
        planned("traces", "teacher", 2, tokens=(100, 25)),
        planned("judgements", "teacher", 100, tokens=(40, 0)),
    ]
    events = [(20 * n, Event("traces", "teacher", n, 2)) for n in range(1, 3)]

    # 20 s for 200 weighted tokens, so 4 s for 40.
    assert progress_lines(stages, events)[-1].endswith("whole run: at most about 7 min left")


def test_rules_that_the_student_sees_each_time_are_read_once():
    stages = [
        planned("test", "student", 10, GIVEN, tokens=(40, 4)),
        planned("select", "student", 60, tokens=(520, 4)),
    ]
    events = [(2 * n, on_test(n, 10)) for n in range(1, 11)]

    # 60 calls at 2 s each.
    assert progress_lines(stages, events)[-1].endswith("whole run: at most about 2 min left")


def test_downloads_are_in_megabytes_and_do_not_count_as_calls():
    stages = [planned("test", "student", 10, GIVEN)]
    events = [
        (second, Event("download", "", done * 1_000_000, 9_400_000, item="m"))
        for second, done in ((0, 1), (11, 5))
    ]
    assert progress_lines(stages, events)[0] == "fetching m (MB): 1/9"
    assert progress_lines(stages, events)[1].startswith("fetching m (MB): 5/9")
    assert "whole run" not in progress_lines(stages, events)[1]


def test_a_stage_that_nobody_planned_is_shown_by_its_name():
    assert progress_lines([], [(0, Event("rewrite", "teacher", 1, 2))]) == ["rewrite: 1/2"]


def test_a_terminal_gets_one_line_a_stage():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with RunProgress(console) as progress:
        progress(Event("traces", "teacher", 1, 3))
        for stage in ("val", "search"):
            for number in range(3):
                progress(Event(stage, "student", 1, 5, item=f"c{number}"))
        stages = [task.description for task in progress._bars.tasks]

    assert stages == ["teacher explains", "lists on val, no. 3", "searched lists on val, no. 3"]

"""Compiles, each in a process of its own, forked from this one.

Each line of the standard input is a JSON list `[RUN_DIR, CALLS, FOUND]` or `[RUN_DIR, CALLS, FOUND,
KIND, NUMBER, HOW]`; the exit code of its process is printed, below zero for a signal. Each answered
call adds the line `student` or `teacher` to the file CALLS; what was found is written into FOUND as
JSON. With the last three, the process ends just before call NUMBER of KIND (`student`, `teacher` or
`edits`), by `kill` or `exit`.
"""

import json
import os
import signal
import sys
import traceback
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import dspy
import litellm  # noqa: F401 - imported late by the package, and slow to
import optuna

from fakes import FakeEngine, Prompt, fake_lm
from keyword_runs import SETS, Colour, Student, teach
from pld_dspy import PLD, DirectStudent, PLDConfig, macro_f1
from pld_dspy.config.optimizer import SearchConfig

EXIT = 41


class Ends:
    """Ends the process before a chosen call, and notes each call that was answered before."""

    def __init__(self, calls, kind="", number="0", how=""):
        self._calls, self._kind, self._number, self._how = Path(calls), kind, int(number), how
        self._seen = Counter()

    def before(self, role, request):
        kinds = {role, "edits" if "\nEdits: <" in Prompt.of(request).user else role}
        self._seen.update(kinds)
        if self._kind in kinds and self._seen[self._kind] == self._number:
            if self._how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(EXIT)
        with self._calls.open("a", encoding="utf-8") as file:
            file.write(f"{role}\n")


class Ending(FakeEngine):
    def __init__(self, role, engine, ends):
        super().__init__(engine._answer)
        self._role, self._ends = role, ends

    def complete(self, request):
        self._ends.before(self._role, request)
        return super().complete(request)


def compile_once(run_dir, calls, found_file, *end):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ends = Ends(calls, *end)
    student = fake_lm(Ending("student", Student(), ends), name="fake/student")
    teacher = fake_lm(Ending("teacher", FakeEngine(teach), ends), name="fake/teacher")
    optimizer = PLD(
        metric=macro_f1,
        teacher_lm=teacher,
        config=PLDConfig(search=SearchConfig(trials=4)),
        run_dir=run_dir,
        seed=3,
    )
    with dspy.context(lm=student):
        program = optimizer.compile(DirectStudent(Colour), **SETS)
    found = asdict(program.pld_result)
    del found["wall_s"], found["versions"]
    text = json.dumps({"result": found, "program": program.dump_state()["predict"]})
    Path(found_file).write_text(text, encoding="utf-8")


def main():
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                compile_once(*json.loads(line))
            except BaseException:  # noqa: BLE001 - the child must not go on as its parent
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Search workers, each in a process of its own, forked from this one.

Each line of the standard input is a JSON list. `["start", STORAGE, STUDY, TRIALS, CALLS, HANGS]`
starts a worker and prints its process id; `["wait", ID]` prints its exit code, below zero for a
signal. The student is simulated and slow. Each block of answers adds the line `<process id> <list>`
to the file CALLS, and a worker stands still for good in its block number HANGS, if that is not 0.
"""

import itertools
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

from experiments.simulation.students import SimulatedStudent
from pld_dspy.stages.search.contest import Tried
from pld_dspy.stages.search.loop import search
from pld_dspy.stages.search.shared.storage import find_study, open_storage
from pld_dspy.stages.search.space import RuleList

SLOW_S = 0.1


def contest_for(trials, calls=None, hangs=0):
    """The contest that every worker of a test has part in."""
    blocks = itertools.count(1)
    student = SimulatedStudent(5, rules=6)
    contest, _ = student.contest(36, trials=trials, grace_s=5, race={"block": 6})
    known = tuple(
        Tried(
            listing=RuleList(rules),
            answers=dict(enumerate(contest.ask(RuleList(rules), range(36)))),
        )
        for rules in ((), tuple(range(6)))
    )
    plain = contest.ask

    def ask(listing, places):
        time.sleep(SLOW_S)
        if calls is not None:
            with calls.open("a", encoding="utf-8") as file:
                file.write(f"{os.getpid()} {listing.rules} {listing.header}\n")
        if next(blocks) == hangs:
            signal.pause()
        return plain(listing, places)

    return replace(contest, known=known, ask=ask)


def start(storage, study, trials, calls, hangs):
    child = os.fork()
    if child == 0:
        try:
            contest = contest_for(trials, Path(calls), hangs)
            search(contest, find_study(open_storage(storage), study))
        except BaseException:  # noqa: BLE001 - the child must not go on as its parent
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def main():
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        if what == "start":
            said = start(*arguments)
        else:
            said = os.waitstatus_to_exitcode(os.waitpid(*arguments, 0)[1])
        sys.stdout.write(f"{said}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

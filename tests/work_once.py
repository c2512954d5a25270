"""One search worker in a process of its own: `work_once.py STORAGE STUDY TRIALS CALLS`.

The student is simulated and slow. Each block of answers adds the line `<process id> <list>` to the
file CALLS.
"""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from experiments.simulated import SimulatedStudent
from pld_dspy.search import search
from pld_dspy.space import RuleList
from pld_dspy.studies import find_study, open_storage
from pld_dspy.trials import Tried

SLOW_S = 0.1


def contest_for(trials, calls=None):
    """The contest that every worker of a test has part in."""
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
        return plain(listing, places)

    return replace(contest, known=known, ask=ask)


if __name__ == "__main__":
    storage, study, trials, calls = sys.argv[1:]
    search(contest_for(int(trials), Path(calls)), find_study(open_storage(storage), study))

"""What a study tells a worker: the student, the rules, and the lists that were scored before."""

from collections.abc import Mapping
from typing import Any

import optuna
from pydantic import BaseModel, ConfigDict

from pld_dspy.config.optimizer import SearchConfig
from pld_dspy.errors import StorageError
from pld_dspy.records import Answer, Rule
from pld_dspy.stages.search.contest import Contest, Tried
from pld_dspy.stages.search.space import RuleList, Space

_PIECES = "spec pieces"
_CHARS = 30_000
"""Characters per attribute of a study: some databases hold no more than 64 KiB in one."""


class KnownList(BaseModel):
    """A list that was scored before the search."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: tuple[int, ...]
    """Places in `SearchSpec.rules`."""
    header: str
    answers: tuple[Answer, ...]
    """One for each validation example, in their order."""


class SearchSpec(BaseModel):
    """Everything that a worker needs to ask the same student about the same lists."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: dict[str, Any]
    """Settings of the run, from which a worker loads the examples and the student."""
    predictor: str
    """Path of the predictor that the rules are for."""
    demos: tuple[str, ...]
    """Ids of the worked examples that every list is shown with."""
    rules: tuple[Rule, ...]
    groups: dict[str, tuple[int, ...]]
    headers: tuple[str, ...]
    most: int
    known: tuple[KnownList, ...]
    search: SearchConfig
    seed: int

    @classmethod
    def of(cls, contest: Contest, asked: Mapping[str, Any]) -> "SearchSpec":
        """Return the spec of a contest.

        Args:
            contest: The space and the lists that were scored before.
            asked: `config`, `predictor` and `demos`.
        """
        space = contest.space
        known = tuple(
            KnownList(
                rules=tried.listing.rules,
                header=tried.listing.header,
                answers=tuple(tried.answers[place] for place in sorted(tried.answers)),
            )
            for tried in contest.known
        )
        return cls(
            **asked,
            rules=space.rules,
            groups=dict(space.groups),
            headers=space.headers,
            most=space.most,
            known=known,
            search=contest.config,
            seed=contest.seed,
        )

    @property
    def space(self) -> Space:
        """The lists that may be tried."""
        return Space(rules=self.rules, groups=self.groups, headers=self.headers, most=self.most)

    @property
    def tried(self) -> tuple[Tried, ...]:
        """The lists that were scored before."""
        return tuple(
            Tried(listing=RuleList(k.rules, k.header), answers=dict(enumerate(k.answers)))
            for k in self.known
        )

    def write(self, study: optuna.Study) -> None:
        """Store the spec in the study, unless it holds one."""
        if _PIECES in study.user_attrs:
            return
        text = self.model_dump_json()
        pieces = [text[start : start + _CHARS] for start in range(0, len(text), _CHARS)]
        for number, piece in enumerate(pieces):
            study.set_user_attr(f"spec {number}", piece)
        study.set_user_attr(_PIECES, len(pieces))  # last: a worker reads only what is whole

    @classmethod
    def read(cls, study: optuna.Study) -> "SearchSpec":
        """Return the spec that the study holds.

        Raises:
            StorageError: It holds none: it is not of this version of the program, or its student
                cannot be asked from elsewhere.
        """
        attrs = study.user_attrs
        if _PIECES not in attrs:
            msg = f"the study {study.study_name!r} does not say how to ask its student; start the search with `pld distill` of this version first"
            raise StorageError(msg)
        text = "".join(attrs[f"spec {number}"] for number in range(attrs[_PIECES]))
        return cls.model_validate_json(text)

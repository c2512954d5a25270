"""Specification of a search, stored in its study for the workers."""

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
"""Maximum characters per study attribute; some databases allow 64 KiB."""


class KnownList(BaseModel):
    """A list that was scored before the search."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: tuple[int, ...]
    """Indices in `SearchSpec.rules`."""
    header: str
    answers: tuple[Answer, ...]
    """One per validation example, in order."""


class SearchSpec(BaseModel):
    """Everything that a worker needs to evaluate the same lists with the same student."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: dict[str, Any]
    """Settings of the run, for loading the examples and the student."""
    predictor: str
    """Path of the predictor."""
    demos: tuple[str, ...]
    """Ids of the demos of every list."""
    words: dict[str, str] = {}
    """Word that the student sees for each label; empty shows labels as the config says."""
    rules: tuple[Rule, ...]
    groups: dict[str, tuple[int, ...]]
    headers: tuple[str, ...]
    most: int
    alike: tuple[tuple[int, int], ...] = ()
    known: tuple[KnownList, ...]
    search: SearchConfig
    seed: int

    @classmethod
    def of(cls, contest: Contest, asked: Mapping[str, Any]) -> "SearchSpec":
        """Return the specification of a contest.

        Args:
            contest: Has the space, and the lists that were scored before.
            asked: Values of `config`, `predictor`, `demos` and `words`.
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
            alike=space.alike,
            known=known,
            search=contest.config,
            seed=contest.seed,
        )

    @property
    def space(self) -> Space:
        """The search space."""
        return Space(
            rules=self.rules,
            groups=self.groups,
            headers=self.headers,
            most=self.most,
            alike=self.alike,
        )

    @property
    def tried(self) -> tuple[Tried, ...]:
        """The lists that were scored before."""
        return tuple(
            Tried(listing=RuleList(k.rules, k.header), answers=dict(enumerate(k.answers)))
            for k in self.known
        )

    def write(self, study: optuna.Study) -> None:
        """Store the specification in the study, unless there is one."""
        if _PIECES in study.user_attrs:
            return
        text = self.model_dump_json()
        pieces = [text[start : start + _CHARS] for start in range(0, len(text), _CHARS)]
        for number, piece in enumerate(pieces):
            study.set_user_attr(f"spec {number}", piece)
        study.set_user_attr(
            _PIECES, len(pieces)
        )  # written last: without it the specification is incomplete

    @classmethod
    def read(cls, study: optuna.Study) -> "SearchSpec":
        """Return the specification in the study.

        Raises:
            StorageError: There is none: the search was started by another version, or without a
                config, so that it allows no workers.
        """
        attrs = study.user_attrs
        if _PIECES not in attrs:
            msg = f"the study {study.study_name!r} does not say how to ask its student; start the search with `pld distill` of this version first"
            raise StorageError(msg)
        text = "".join(attrs[f"spec {number}"] for number in range(attrs[_PIECES]))
        return cls.model_validate_json(text)

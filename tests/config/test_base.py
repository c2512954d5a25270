from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from pld_dspy.config.base import Settings, explain
from pld_dspy.errors import ConfigError


class Inner(Settings):
    method: Literal["dbscan", "kmeans"] = "dbscan"
    eps: Annotated[float, Field(gt=0, le=2)] | Literal["auto"] = "auto"


class Outer(Settings):
    seed: int
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"seed": 1, "iner": {}}, "iner: unknown setting; did you mean 'inner'?"),
        ({}, "seed: is required"),
        ({"seed": "x"}, "seed: 'x' is not allowed, should be a valid integer"),
        (
            {"seed": 1, "inner": {"methd": "kmeans"}},
            "inner: methd: unknown setting; did you mean 'method'?",
        ),
        (
            {"seed": 1, "inner": {"method": "dbscam", "eps": 5}},
            "inner: method: 'dbscam' is not allowed, should be 'dbscan' or 'kmeans'; did you mean "
            "'dbscan'? | eps: 5 is not allowed, should be less than or equal to 2 or 'auto'",
        ),
        (
            {"seed": 1, "many": [{}, {"eps": 0}]},
            "many.1: eps: 0 is not allowed, should be greater than 0 or 'auto'",
        ),
    ],
)
def test_every_problem_is_told_in_one_line(given, line):
    with pytest.raises(ConfigError) as caught:
        Outer(**given)
    assert str(caught.value) == line


def test_plain_pydantic_records_are_explained_with_their_path():
    class Leaf(BaseModel, extra="forbid"):
        size: int = 1

    class Tree(BaseModel, extra="forbid"):
        leaf: Leaf = Leaf()

    with pytest.raises(ValidationError) as caught:
        Tree.model_validate({"leaf": {"sise": 2}})
    assert explain(caught.value, Tree) == "leaf.sise: unknown setting; did you mean 'size'?"


def test_good_settings_are_kept_and_frozen():
    settings = Outer(seed=3, inner=Inner(eps=0.5))
    assert settings.model_dump() == {
        "seed": 3,
        "inner": {"method": "dbscan", "eps": 0.5},
        "many": (),
    }
    with pytest.raises(ValidationError, match="frozen"):
        settings.seed = 4

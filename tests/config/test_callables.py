import functools

import pytest

from pld_dspy.config.callables import check_call, described
from pld_dspy.errors import ConfigError


class Refiner:
    def __call__(self, context: object) -> None:
        pass


@pytest.mark.parametrize(
    "given",
    [
        Refiner(),
        Refiner().__call__,
        lambda context, more=1: None,
        lambda *args, **given: None,
        functools.partial(lambda a, context: None, 1),
        max,  # has no signature to read
    ],
    ids=["object", "method", "more", "any", "partial", "unreadable"],
)
def test_what_can_be_called_so_passes(given):
    check_call("refiner", given, ["context"], expected="a Refiner")


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (None, "refiner is None of type NoneType; give a Refiner"),
        (Refiner, r"refiner is the class Refiner; give an instance, Refiner\(\.\.\.\)"),
        (lambda: None, r"refiner <lambda> takes \(\) and is called with \(context\): too many"),
        (
            lambda context, store: None,
            r"takes \(context, store\) and is called with \(context\): missing .*'store'",
        ),
    ],
)
def test_what_cannot_is_refused_in_one_line(given, match):
    with pytest.raises(ConfigError, match=match) as caught:
        check_call("refiner", given, ["context"], expected="a Refiner")
    assert "\n" not in str(caught.value)


def test_a_long_value_is_cut_and_put_on_one_line():
    shown = described("a\n" * 100)

    assert shown.endswith("... of type str")
    assert len(shown) < 80
    assert described("line\nbreak") == r"'line\nbreak' of type str"

import pytest

from pld_dspy.errors import ConfigError
from pld_dspy.ledger.mlflow.tracker import MlflowTracker
from pld_dspy.ledger.tracker import NullTracker
from pld_dspy.ledger.trackers import METHODS, resolve_tracker


class Half:
    def start(self, **given):
        pass


def test_trackers_by_name():
    assert type(resolve_tracker(None)) is type(resolve_tracker("none")) is NullTracker
    made = resolve_tracker("mlflow")
    assert type(made) is MlflowTracker
    assert (made.experiment, made.tracking_uri) == ("pld", None)


def test_an_object_with_the_methods_is_taken_as_it_is():
    given = NullTracker()

    assert resolve_tracker(given) is given
    assert {"start", "metrics", "candidate", "prompt", "finish"} <= set(METHODS)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("mlfow", "no tracker is called 'mlfow'; did you mean 'mlflow'"),
        (NullTracker, "tracker is the class NullTracker; give an instance"),
        (print, "of type builtin_function_or_method without the methods start, "),
        (Half(), "of type Half without the methods .*metrics.*; give 'mlflow', 'none'"),
    ],
)
def test_what_is_no_tracker_is_refused_in_one_line(given, match):
    with pytest.raises(ConfigError, match=match) as caught:
        resolve_tracker(given)
    assert "\n" not in str(caught.value)

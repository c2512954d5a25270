"""Conformance suite for a `Task`."""

from collections.abc import Mapping
from typing import ClassVar

from pld_dspy.data.examples import example_id
from pld_dspy.data.splits import check_disjoint
from pld_dspy.data.tasks import Task
from pld_dspy.records import Split
from pld_dspy.scoring.metrics import metric_by_name
from pld_dspy.stages.common.prompt import output_labels


class TaskSuite:
    """Tests of a task; a subclass has a fixture `task`, which may be loaded once for all tests."""

    sizes: ClassVar[Mapping[Split, int]] = {"train": 8, "val": 8}
    """Split sizes that the tests ask for; set smaller ones for a task of few examples."""

    def test_it_has_a_name_and_two_labels_or_more(self, task: Task) -> None:
        """The labels are different texts without blanks around them."""
        assert task.name.strip(), "the name is empty"
        assert len(task.labels) >= 2, f"the labels are {task.labels}, should be two or more"
        assert len(set(task.labels)) == len(task.labels), "a label occurs twice"
        odd = [label for label in task.labels if not label.strip() or label != label.strip()]
        assert odd == [], f"labels that are empty or have blanks around them: {odd}"

    def test_the_signature_has_the_inputs_and_the_label(self, task: Task) -> None:
        """Inputs are `input_keys`, and the output `label_key` allows the labels and nothing else."""
        inputs = tuple(task.signature.input_fields)
        assert sorted(inputs) == sorted(task.input_keys), f"the signature has the inputs {inputs}"
        outputs = tuple(task.signature.output_fields)
        assert task.label_key in outputs, f"the signature has the outputs {outputs}"
        allowed = output_labels(task.signature, task.label_key)
        assert sorted(allowed) == sorted(task.labels), f"the output allows {allowed}"
        assert task.signature.instructions.strip(), "the signature has no instructions"

    def test_each_example_has_its_inputs_and_a_known_label(self, task: Task) -> None:
        """This includes the examples of fixed splits."""
        pools = (task.fixed_splits or {}).values()
        assert task.examples, "there is no example"
        for example in (*task.examples, *(e for pool in pools for e in pool)):
            keys = sorted(example.inputs().keys())
            assert keys == sorted(task.input_keys), f"an example has the inputs {keys}"
            gold = example.get(task.label_key)
            assert gold in task.labels, f"an example has the label {gold!r}, not among the labels"

    def test_each_label_occurs(self, task: Task) -> None:
        """A label without an example gets no rule."""
        missing = set(task.labels) - {example[task.label_key] for example in task.examples}
        assert missing == set(), f"labels without an example: {sorted(missing)}"

    def test_the_metric_is_known(self, task: Task) -> None:
        """`metric` is a registered name."""
        metric_by_name(task.metric)

    def test_it_splits_without_leaks(self, task: Task) -> None:
        """The splits have the requested sizes and share no example."""
        splits = task.split(self.sizes, seed=0)
        found = {split: splits.sizes[split] for split in self.sizes}
        assert found == dict(self.sizes), f"sizes {found}, should be {dict(self.sizes)}"
        check_disjoint(splits)

    def test_the_same_seed_gives_the_same_splits(self, task: Task) -> None:
        """Two optimizers are compared on the same examples."""
        first, second = (task.split(self.sizes, seed=3) for _ in range(2))
        for split in self.sizes:
            ids = [[example_id(e) for e in splits.get(split)] for splits in (first, second)]
            assert ids[0] == ids[1], f"the split {split} has other examples in a second call"

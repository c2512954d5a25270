"""Small labelled corpora, and what is in their splits."""

from collections import Counter

from pld_dspy.data.splits import example_id, make_example


def example(number, label, *, group=None, source=None):
    return make_example(
        {"text": f"text {number}"},
        label,
        input_keys=("text",),
        label_key="label",
        group=group,
        source_id=source,
    )


def corpus(counts, *, groups=0):
    """Examples with `counts[label]` items a label; items of a label are spread over `groups`."""
    return [
        example(
            f"{label}{n}",
            label,
            group=f"{label}-g{n % groups}" if groups else None,
            source=f"{label}:{n}",
        )
        for label, count in counts.items()
        for n in range(count)
    ]


def labels_of(split):
    return Counter(e.label for e in split)


def ids_of(split):
    return [example_id(e) for e in split]


def groups_of(*splits):
    return {e.pld_group for split in splits for e in split}

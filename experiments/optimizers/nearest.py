"""KNNFewShot: for each question, the training examples that are most like it in the prompt."""

from collections.abc import Sequence
from typing import Any

import dspy
import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer

from experiments.optimizers.table import Found, Job, Optimizer

SHOTS = (16, 8, 4)
"""16 as in `labeled-more-shots`, or fewer where so many would take over half of the context."""
CHARS_PER_TOKEN = 3.0
"""Low for English, so that prompts fit."""
_OVERHEAD = 40
"""Characters of one demonstration besides its fields: their names, and the request."""


class NearestStudent(dspy.Module):
    """What KNNFewShot makes of a student; it is asked as the student is."""

    def __init__(self, compiled: dspy.Module) -> None:
        """Wrap the compiled program, whose predictor holds no demonstrations of its own."""
        super().__init__()
        self.nearest = compiled
        self.wording = compiled.wording

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Return the prediction."""
        return self.nearest(**inputs)


class TfidfVectors:
    """TF-IDF vectors of words and pairs of words, as the package's embedder has them.

    That one fits itself to each list of texts, so that a question would have no vector in the space
    of the examples; this one is fitted to the examples once.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """Fit to the texts."""
        self._vectorizer = TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"
        ).fit(texts)

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return unit vectors, shape `(len(texts), terms)`."""
        vectors: npt.NDArray[np.float32] = self._vectorizer.transform(texts).toarray()
        return vectors.astype(np.float32)


def shots_within(job: Job) -> int:
    """Return how many examples a prompt has: as many as half of the student's context surely holds."""
    keys = [*job.task.input_keys, job.task.label_key]
    sizes = sorted(
        (sum(len(str(e[key])) for key in keys) + _OVERHEAD for e in job.train), reverse=True
    )
    room = job.context_tokens / 2 * CHARS_PER_TOKEN
    fitting = [shots for shots in SHOTS if sum(sizes[:shots]) <= room]
    return min(fitting[0] if fitting else SHOTS[-1], len(job.train))


def nearest(job: Job) -> Found:
    """Return the student with the nearest training examples in its prompt, none bootstrapped."""
    shots = shots_within(job)
    texts = [" ".join(str(e[key]) for key in job.task.input_keys) for e in job.train]
    optimizer = dspy.KNNFewShot(
        k=shots,
        trainset=list(job.train),
        vectorizer=dspy.Embedder(TfidfVectors(texts), caching=False),
        # Bootstrapped ones would ask the model again at each question.
        max_bootstrapped_demos=0,
        max_labeled_demos=shots,
    )
    program = NearestStudent(optimizer.compile(job.student()))
    note = f"the {shots} nearest of {len(job.train)} training examples"
    return Found(program, note, labelled=len(job.train))


ENTRIES = (Optimizer(name="knn", run=nearest, matched=False, extra=True),)

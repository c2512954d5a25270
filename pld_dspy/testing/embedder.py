"""Conformance suite for a `Embedder`."""

import numpy as np

from pld_dspy.records import Embedder

TEXTS = (
    "If the text is about bread, answer food.",
    "If the text mentions a train, answer travel.",
    "If the text is about bread, answer food.",
    "If two teams play, answer sport.",
)
"""The first and the third are equal."""


class EmbedderSuite:
    """Tests of an embedder; a subclass has a fixture `embedder`.

    An embedder behind a paid endpoint is called with about twenty short texts in all.
    """

    def test_each_text_gets_one_row_of_the_same_length(self, embedder: Embedder) -> None:
        """The result is an array of shape `(len(texts), dim)` with `dim` at least 1."""
        for texts in (TEXTS, TEXTS[:2]):
            found = np.asarray(embedder(list(texts)), dtype=np.float64)
            good = found.ndim == 2 and found.shape[0] == len(texts) and found.shape[1] > 0
            assert good, f"shape {found.shape} for {len(texts)} texts, should be (n, dim)"

    def test_one_text_is_enough(self, embedder: Embedder) -> None:
        """A predictor may have a single trace."""
        found = np.asarray(embedder([TEXTS[0]]), dtype=np.float64)
        assert found.ndim == 2, f"shape {found.shape} for 1 text, should be (1, dim)"
        assert len(found) == 1, f"{len(found)} rows for 1 text"

    def test_all_numbers_are_finite(self, embedder: Embedder) -> None:
        """No NaN or infinity, also for punctuation and other scripts."""
        found = np.asarray(embedder([*TEXTS, "?!", "猫について"]), dtype=np.float64)
        assert np.isfinite(found).all(), "a number is NaN or infinite"

    def test_equal_texts_get_equal_rows(self, embedder: Embedder) -> None:
        """Traces with the same rule must fall into the same cluster."""
        found = np.asarray(embedder(list(TEXTS)), dtype=np.float64)
        assert np.allclose(found[0], found[2]), "two equal texts have different rows"

    def test_different_texts_are_told_apart(self, embedder: Embedder) -> None:
        """If all rows are equal, there is nothing to cluster."""
        found = np.asarray(embedder(list(TEXTS)), dtype=np.float64)
        assert not np.allclose(found, found[0]), "texts about different things have equal rows"

    def test_the_same_texts_give_the_same_rows(self, embedder: Embedder) -> None:
        """A second compile with the same seed must give the same program."""
        first, second = (np.asarray(embedder(list(TEXTS)), dtype=np.float64) for _ in range(2))
        assert np.allclose(first, second), "a second call returned other rows"

    def test_the_texts_are_not_changed(self, embedder: Embedder) -> None:
        """The list of texts is used again."""
        texts = list(TEXTS)
        embedder(texts)
        assert tuple(texts) == TEXTS, "the list of texts was changed"

    def test_a_name_is_a_text(self, embedder: Embedder) -> None:
        """`name` may be missing; if present it goes into reports and cache keys."""
        name = getattr(embedder, "name", "none")
        assert isinstance(name, str), f"name is {name!r}, should be a text"
        assert name.strip(), "name is empty"

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pld_dspy.errors import ConfigError, DataError, ModelError
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.embedder import (
    LitellmEmbedder,
    TfidfEmbedder,
    check_embedder,
    embed,
    embedder_name,
    make_embedder,
)
from pld_dspy.records import Event

TEXTS = [
    "If a person is named by a job, answer profession.",
    "If a person is named by a job title, answer profession.",
    "If a faith is named, answer religion.",
    "If a faith or a place of worship is named, answer religion.",
    "If a nation is named, answer race.",
]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet="ab !é", max_size=12), min_size=1, max_size=8))
def test_tfidf_rows_are_unit_or_zero_and_equal_for_equal_texts(texts):
    rows = embed(texts, TfidfEmbedder(dim=4))
    assert rows.shape[0] == len(texts)
    assert rows.dtype == np.float64
    lengths = np.linalg.norm(rows, axis=1)
    assert np.all(np.isclose(lengths, 1.0) | (lengths == 0.0))
    for i, text in enumerate(texts):
        if not any(letter.isalnum() for letter in text):
            assert lengths[i] == 0.0
        same = [j for j, other in enumerate(texts) if other == text]
        assert rows[same] == pytest.approx(np.tile(rows[i], (len(same), 1)), abs=1e-9)


def test_tfidf_puts_like_texts_together_and_is_deterministic():
    rows = TfidfEmbedder()(TEXTS)
    assert rows.shape == (5, 4)  # texts - 1
    similar = rows @ rows.T
    assert similar[0, 1] > max(similar[0, 2:])
    assert similar[2, 3] > max(similar[2, [0, 1, 4]])
    assert np.array_equal(rows, TfidfEmbedder()(TEXTS))


def test_tfidf_dimensions_are_bounded_by_the_setting():
    assert TfidfEmbedder(dim=2)(TEXTS).shape == (5, 2)
    with pytest.raises(ConfigError, match="0 dimensions"):
        TfidfEmbedder(dim=0)


def test_one_letter_words_count():
    rows = TfidfEmbedder()(["P", "Q", "P"])
    assert rows[0] @ rows[2] == pytest.approx(1.0)
    assert abs(rows[0] @ rows[1]) < 0.5


class FakeLitellm:
    def __init__(self, monkeypatch, reply):
        self.requests = []
        self.reply = reply
        monkeypatch.setitem(sys.modules, "litellm", SimpleNamespace(embedding=self.embedding))

    def embedding(self, *, model, input, **options):
        self.requests.append((model, input, options))
        return self.reply(input)


def lengths_as_vectors(texts):
    """Each text becomes (length, 1); the answer comes in reverse order."""
    data = [{"index": i, "embedding": [float(len(t)), 1.0]} for i, t in enumerate(texts)]
    return SimpleNamespace(data=data[::-1], usage=SimpleNamespace(prompt_tokens=10 * len(texts)))


def test_litellm_batches_and_keeps_the_order(monkeypatch):
    fake = FakeLitellm(monkeypatch, lengths_as_vectors)
    embedder = LitellmEmbedder("gemini/x", batch_size=2, api_base="http://here")

    rows = embed(["a", "bb", "ccc", "dddd", "eeeee"], embedder)

    assert rows.tolist() == [[n, 1.0] for n in (1.0, 2.0, 3.0, 4.0, 5.0)]
    assert [texts for _, texts, _ in fake.requests] == [["a", "bb"], ["ccc", "dddd"], ["eeeee"]]
    assert fake.requests[0][0] == "gemini/x"
    assert fake.requests[0][2] == {"api_base": "http://here"}
    assert embedder.name == "gemini/x"


def test_no_text_is_paid_for_twice_and_each_store_counts_what_it_used(monkeypatch, tmp_path):
    fake = FakeLitellm(monkeypatch, lengths_as_vectors)
    embedder, texts = LitellmEmbedder("gemini/x", batch_size=2), ["a", "bb", "ccc"]
    store = StageStore(tmp_path)

    events = []
    first = embed(texts, embedder, store, progress=events.append)
    again = embed(texts, LitellmEmbedder("gemini/x", batch_size=2, api_key="other"), store)
    resumed = StageStore(tmp_path)

    assert events == [Event("clusters", "embedder", done, 2) for done in (1, 2)]
    assert np.array_equal(first, again)
    assert np.array_equal(first, embed(texts, embedder, resumed))
    assert len(fake.requests) == 2
    for used in (store.spent(), resumed.spent()):
        assert sorted((s.role, s.calls, s.input_tokens) for s in used) == [
            ("embedder", 1, 10),
            ("embedder", 1, 20),
        ]
    assert StageStore(tmp_path).spent() == []
    embed(texts, LitellmEmbedder("gemini/x", batch_size=2, dimensions=8), store)
    assert len(fake.requests) == 4  # another setting, other vectors


def test_a_batch_that_was_answered_is_kept_when_the_next_one_fails(monkeypatch):
    def second_fails(texts):
        if "ccc" in texts and len(fake.requests) < 3:
            raise openai.OpenAIError("away")
        return lengths_as_vectors(texts)

    import openai

    fake, store = FakeLitellm(monkeypatch, second_fails), StageStore()
    embedder = LitellmEmbedder("gemini/x", batch_size=2)
    with pytest.raises(ModelError, match="away"):
        embed(["a", "bb", "ccc"], embedder, store)
    assert embed(["a", "bb", "ccc"], embedder, store)[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert [texts for _, texts, _ in fake.requests] == [["a", "bb"], ["ccc"], ["ccc"]]


def test_vectors_of_a_named_function_are_kept_and_faulty_ones_are_not():
    class Named:
        name = "mine"
        calls = 0
        rows = np.nan

        def __call__(self, texts):
            self.calls += 1
            return np.full((len(texts), 2), self.rows)

    embedder, store = Named(), StageStore()
    with pytest.raises(DataError, match="gave NaN"):
        embed(["a"], embedder, store)
    embedder.rows = 1.0
    for _ in range(2):
        assert embed(["a"], embedder, store).tolist() == [[1.0, 1.0]]
    assert embedder.calls == 2


def test_an_embedding_model_that_does_not_answer_fails_its_check(monkeypatch):
    import openai

    def refuse(_texts):
        raise openai.OpenAIError("no such key")

    FakeLitellm(monkeypatch, refuse)
    check_embedder(TfidfEmbedder())
    with pytest.raises(ModelError, match="no such key"):
        check_embedder(LitellmEmbedder("gemini/x"))


def test_litellm_errors_become_one_line(monkeypatch):
    import openai

    def refuse(_texts):
        raise openai.OpenAIError("no\nsuch key")

    FakeLitellm(monkeypatch, refuse)
    with pytest.raises(ModelError, match=r"embedder 'gemini/x' failed: no such key; check"):
        LitellmEmbedder("gemini/x")(["a"])


def test_litellm_answer_with_a_vector_missing_is_refused(monkeypatch):
    FakeLitellm(monkeypatch, lambda texts: lengths_as_vectors(texts[:-1]))
    embedder = LitellmEmbedder("gemini/x")
    with pytest.raises(ModelError, match="gave 1 vectors for 2 texts"):
        embedder(["a", "b"])


def test_batch_size_below_one_is_refused():
    with pytest.raises(ConfigError, match="batch_size 0"):
        LitellmEmbedder("x/y", batch_size=0)


def test_make_embedder_reads_its_specification():
    assert make_embedder("tfidf") == TfidfEmbedder()
    assert make_embedder("tfidf:128") == TfidfEmbedder(dim=128)
    assert embedder_name(make_embedder("tfidf:128")) == "tfidf:128"
    model = make_embedder("ollama/nomic-embed-text:v1.5")
    assert isinstance(model, LitellmEmbedder)
    assert model.name == "ollama/nomic-embed-text:v1.5"
    assert make_embedder(lengths_as_vectors) is lengths_as_vectors


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("tf-idf", "unknown embedder 'tf-idf'; did you mean 'tfidf'"),
        ("tfdif:64", "unknown embedder 'tfdif:64'; did you mean 'tfidf'"),
        ("", "unknown embedder ''; known are tfidf"),
        ("tfidf:many", "number of dimensions is not an integer"),
        ("tfidf:0", "tfidf with 0 dimensions"),
    ],
)
def test_make_embedder_refuses_what_it_cannot_read(spec, problem):
    with pytest.raises(ConfigError, match=problem):
        make_embedder(spec)


def test_embed_names_the_embedder_and_the_first_broken_text():
    def half(texts):
        rows = np.ones((len(texts), 2))
        rows[1, 0] = np.nan
        rows[3, 1] = np.inf
        return rows

    with pytest.raises(DataError, match=r"'half' gave NaN or infinity in 2 of 5 rows, first for "):
        embed(TEXTS, half)
    with pytest.raises(DataError, match="first for 'If a person is named by a job title, answer"):
        embed(TEXTS, half)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (np.ones(5), r"gave shape \(5,\) for 5 texts"),
        (np.ones((4, 2)), r"gave shape \(4, 2\) for 5 texts"),
        (np.ones((5, 0)), r"gave shape \(5, 0\) for 5 texts"),
        ([[1.0], [1.0, 2.0], [1.0], [1.0], [1.0]], "gave no array of numbers"),
    ],
)
def test_embed_refuses_other_shapes(answer, problem):
    with pytest.raises(DataError, match=problem):
        embed(TEXTS, lambda _texts: answer)


def test_embed_refuses_no_texts_and_passes_errors_on():
    with pytest.raises(DataError, match="no texts"):
        embed([], TfidfEmbedder())

    def broken(_texts):
        raise ConfigError("my own error")

    with pytest.raises(ConfigError, match="my own error"):
        embed(["a"], broken)


def test_embed_gives_float64_from_lists_of_integers():
    rows = embed(["a", "b"], lambda texts: [[1, 2] for _ in texts])
    assert rows.dtype == np.float64
    assert rows.tolist() == [[1.0, 2.0], [1.0, 2.0]]

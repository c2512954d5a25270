"""Text embeddings: TF-IDF, an embedding model of LiteLLM, or a function."""

import difflib
import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from pld_dspy.config.plugins import EMBEDDERS, find, is_added, names, owner
from pld_dspy.errors import ConfigError, DataError, ModelError, nearest
from pld_dspy.ledger.store import Spent, StageStore, key_of
from pld_dspy.records import Embedder, Event, Progress, Vectors, silent

STAGE = "embeddings"

_ZERO = 1e-9
"""Rows shorter than this are rounding errors and have no direction."""


@dataclass(frozen=True, slots=True)
class TfidfEmbedder:
    """TF-IDF vectors of length 1, from the given texts alone; needs no model and no network.

    Sublinear TF-IDF of one- and two-word terms, then a truncated SVD to
    `min(dim, texts - 1, terms - 1)` dimensions. The axes depend on the texts, so rows of different
    calls cannot be compared. A text without words gives a row of zeros.
    """

    dim: int = 64
    """Maximum number of dimensions, at least 1."""
    seed: int = 0
    """Seed of the randomised SVD."""

    def __post_init__(self) -> None:
        if self.dim < 1:
            msg = f"tfidf with {self.dim} dimensions; give at least 1"
            raise ConfigError(msg)

    @property
    def name(self) -> str:
        """Name for cache keys."""
        return f"tfidf:{self.dim}" + (f":seed{self.seed}" if self.seed else "")

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return an array of shape `(len(texts), dimensions)`; equal texts get equal rows."""
        # One-letter words are kept: rules of logic use P and Q.
        vectorizer = TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"
        )
        analyze = vectorizer.build_analyzer()
        if not any(analyze(text) for text in texts):
            return np.zeros((len(texts), 1))
        terms = vectorizer.fit_transform(texts)
        dim = min(self.dim, terms.shape[0] - 1, terms.shape[1] - 1)
        if dim < 1:  # one text or one term
            return _unit(terms.toarray())
        svd = TruncatedSVD(n_components=dim, n_iter=10, random_state=self.seed)
        # The explained variance, which is not used, divides by zero for equal texts.
        with np.errstate(invalid="ignore", divide="ignore"):
            return _unit(svd.fit_transform(terms))


class LitellmEmbedder:
    """Vectors of an embedding model of LiteLLM, for instance `gemini/gemini-embedding-001`.

    May be called from several threads.
    """

    def __init__(self, model: str, *, batch_size: int = 64, **options: Any) -> None:
        """Set up the embedder; no call is made.

        Args:
            model: LiteLLM model name.
            batch_size: Texts per request, at least 1.
            options: Passed to `litellm.embedding`, for instance `api_base` or `dimensions`.

        Raises:
            ConfigError: `batch_size` is below 1.
        """
        if batch_size < 1:
            msg = f"batch_size {batch_size} for embedder {model!r}; give at least 1"
            raise ConfigError(msg)
        self.name = model
        self.batch_size = batch_size
        self.options = options

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return an array of shape `(len(texts), dim of the model)`.

        Raises:
            ModelError: The endpoint refused, failed, or gave another number of vectors.
        """
        rows = [row for batch in self.batches(texts) for row in self.request(batch)[0]]
        return np.array(rows, dtype=np.float64)

    def batches(self, texts: Sequence[str]) -> Iterator[list[str]]:
        """Yield the texts of each request."""
        for start in range(0, len(texts), self.batch_size):
            yield list(texts[start : start + self.batch_size])

    def request(self, texts: list[str]) -> tuple[list[list[float]], int]:
        """Return one vector per text, and the input tokens that the endpoint reports.

        Raises:
            ModelError: The endpoint refused, failed, or gave another number of vectors.
        """
        # Otherwise the import of litellm fetches a price list from the network.
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        import litellm
        import openai

        try:
            response = litellm.embedding(model=self.name, input=texts, **self.options)
        except openai.OpenAIError as error:  # base class of litellm's errors
            reason = " ".join(str(error).split())[:300]
            msg = f"embedder {self.name!r} failed: {reason}; check the model name, key and endpoint"
            raise ModelError(msg) from error
        data = sorted(response.data, key=lambda item: int(item["index"]))
        if len(data) != len(texts):
            msg = f"embedder {self.name!r} gave {len(data)} vectors for {len(texts)} texts"
            raise ModelError(msg)
        usage = getattr(response, "usage", None)
        tokens = int(getattr(usage, "prompt_tokens", 0) or 0)
        return [item["embedding"] for item in data], tokens


def check_embedder(embedder: Embedder) -> None:
    """Check with one small request that an embedding model answers; others need no check.

    Raises:
        ModelError: It does not answer.
    """
    if isinstance(embedder, LitellmEmbedder):
        embedder.request(["ok"])


def make_embedder(spec: str | Embedder) -> Embedder:
    """Return the embedder that `spec` names.

    Args:
        spec: `tfidf`, `tfidf:128` (maximum dimensions), an entry point of the group
            `pld_dspy.embedders` (an embedder, or a class or function without arguments that returns
            one), a LiteLLM model name, or an embedder.

    Raises:
        ConfigError: `spec` is empty or a misspelt `tfidf` or entry point, its number of dimensions
            is not an integer, or the entry point is not an embedder.
    """
    if not isinstance(spec, str):
        return spec
    kind, _, dim = spec.strip().partition(":")
    if kind == "tfidf":
        find(EMBEDDERS, kind, {kind: TfidfEmbedder})
        if not dim:
            return TfidfEmbedder()
        if not dim.isdecimal():
            msg = f"embedder {spec!r}: the number of dimensions is not an integer; write tfidf:128"
            raise ConfigError(msg)
        return TfidfEmbedder(dim=int(dim))
    if is_added(EMBEDDERS, spec.strip()):
        return _added(spec.strip())
    close = difflib.get_close_matches(kind.lower(), ["tfidf"])
    added = difflib.get_close_matches(spec, names(EMBEDDERS, {}), cutoff=0.85)
    if not kind or close or added:
        known = [*names(EMBEDDERS, {"tfidf": None}), "a LiteLLM model name"]
        msg = f"unknown embedder {spec!r}{nearest(kind.lower(), known)}"
        raise ConfigError(msg)
    return LitellmEmbedder(spec.strip())


def _added(name: str) -> Embedder:
    """Return the embedder of an entry point, which may be a class or a factory."""
    who = owner(EMBEDDERS, name)
    found = find(EMBEDDERS, name, {}, expected="an embedder, or a function that makes one")
    if not _takes_texts(found) or isinstance(found, type):
        try:
            found = found()
        except Exception as error:  # the other package may raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            msg = f"{who} cannot be made without arguments ({reason}); an embedder takes a list of texts, and its maker no argument"
            raise ConfigError(msg) from error
    if not _takes_texts(found):
        msg = f"{who} is of type {type(found).__name__}, should be an embedder: a callable of a list of texts"
        raise ConfigError(msg)
    embedder: Embedder = found
    return embedder


def _takes_texts(value: Any) -> bool:
    """Return whether the value can be called with one argument but not with none."""
    if not callable(value):
        return False
    try:
        signature = inspect.signature(value)
        signature.bind("texts")
    except (TypeError, ValueError):
        return False
    try:
        signature.bind()
    except TypeError:
        return True
    return False


def embedder_name(embedder: Embedder) -> str:
    """Return the `name` of the embedder, else that of its function or class."""
    fallback = getattr(embedder, "__name__", type(embedder).__name__)
    return str(getattr(embedder, "name", fallback))


def embed(
    texts: Sequence[str],
    embedder: Embedder,
    store: StageStore | None = None,
    *,
    progress: Progress = silent,
) -> Vectors:
    """Return the checked vectors of the texts, float64 of shape `(len(texts), dim)`.

    Args:
        texts: At least one.
        embedder: TF-IDF, an embedding model, or a function.
        store: Stores the vectors of an embedder with a name, and the usage of an embedding model, so
            that no text is paid for twice. TF-IDF is computed again.
        progress: Called after each request to an embedding model.

    Raises:
        ModelError: The embedding model cannot be reached or refuses; vectors so far are kept.
        DataError: There is no text, or the embedder returned a wrong shape or a number that is not
            finite.
    """
    if not texts:
        raise DataError("no texts to embed (0 given); give at least one")
    name = embedder_name(embedder)
    if store is None or isinstance(embedder, TfidfEmbedder) or not hasattr(embedder, "name"):
        return _checked(texts, name, lambda: embedder(texts))
    if isinstance(embedder, LitellmEmbedder):
        batches, rows = list(embedder.batches(texts)), []
        for done, batch in enumerate(batches, 1):
            rows.append(_paid(batch, embedder, store))
            progress(Event("clusters", "embedder", done, len(batches)))
        return np.concatenate(rows)
    record = store.get(STAGE, key := key_of(name, list(texts)))
    if record is None:
        vectors = _checked(texts, name, lambda: embedder(texts))
        record = store.put(STAGE, key, {"vectors": vectors.tolist()})
    return np.array(record["vectors"], dtype=np.float64)


def _paid(texts: list[str], embedder: LitellmEmbedder, store: StageStore) -> Vectors:
    """Return the vectors of one request, from the store or else from the model."""
    # Address and key do not change the vectors.
    options = {k: v for k, v in embedder.options.items() if k not in {"api_base", "api_key"}}
    record = store.get(STAGE, key := key_of(embedder.name, options, texts))
    if record is None:
        rows, tokens = embedder.request(texts)
        vectors = _checked(texts, embedder.name, lambda: rows)
        spent = Spent(role="embedder", calls=1, input_tokens=tokens, model=embedder.name)
        record = store.put(STAGE, key, {"vectors": vectors.tolist(), "spent": asdict(spent)})
    return np.array(record["vectors"], dtype=np.float64)


def _checked(texts: Sequence[str], name: str, rows: Callable[[], Any]) -> Vectors:
    try:
        vectors = np.asarray(rows(), dtype=np.float64)
    except (TypeError, ValueError) as error:
        if isinstance(error, (ConfigError, DataError)):
            raise
        msg = f"embedder {name!r} gave no array of numbers ({error}); return rows of equal length"
        raise DataError(msg) from error
    if vectors.ndim != 2 or vectors.shape[0] != len(texts) or vectors.shape[1] == 0:
        msg = (
            f"embedder {name!r} gave shape {vectors.shape} for {len(texts)} texts; return (n, dim)"
        )
        raise DataError(msg)
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if broken.size:
        first = texts[int(broken[0])][:60]
        msg = (
            f"embedder {name!r} gave NaN or infinity in {broken.size} of {len(texts)} rows, "
            f"first for {first!r}; check the model"
        )
        raise DataError(msg)
    return vectors


def _unit(rows: Vectors) -> Vectors:
    """Return the rows scaled to length 1; rows without a direction become zeros."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(length > _ZERO, rows / np.where(length > _ZERO, length, 1.0), 0.0)

"""An embedder: called with texts, it returns an array of shape `(texts, dimensions)`."""

import numpy as np


class LetterEmbedder:
    """How often each Latin letter occurs.

    >>> LetterEmbedder()(["abba"])[0, :3].tolist()
    [2.0, 2.0, 0.0]
    """

    name = "letters"

    def __call__(self, texts):
        letters = "abcdefghijklmnopqrstuvwxyz"
        return np.array([[float(text.count(letter)) for letter in letters] for text in texts])

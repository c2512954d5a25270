"""Finds the files that settings name."""

import os
from pathlib import Path

from pld_dspy.config.base import DATA_DIR_VARIABLE
from pld_dspy.errors import DataError


def data_file(given: str, key: str) -> Path:
    """Return the file: a relative path is relative to `PLD_DATA_DIR`, then to the working folder.

    Args:
        given: Path; `~` and environment variables in it are replaced.
        key: Name of the setting, for the message.

    Raises:
        DataError: A variable in the path is not set, or there is no such file.
    """
    text = os.path.expandvars(given)
    if "$" in text:
        msg = f"{key} is {given!r}, and a variable in it is not set; export it"
        raise DataError(msg)
    path = Path(text).expanduser()
    folder = os.environ.get(DATA_DIR_VARIABLE)
    places = [Path(folder).expanduser() / path, path] if folder else [path]
    for place in places:
        if place.is_file():
            return place
    what = key.partition(".")[0]
    msg = f"no {what} file at {' or '.join(str(place) for place in places)}; correct {key}"
    raise DataError(msg)

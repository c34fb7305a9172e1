"""One file from a web server: gone on with where it ended, tried again when the connection breaks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from discometry.core.errors import FetchError
from discometry.io.atomic import check_room

__all__ = ["download"]

_ATTEMPTS = 4
"""How often in a row an attempt may bring nothing new."""

_PAUSE_S = 2.0
_TIMEOUT_S = (15, 60)
_CHUNK = 1 << 15
"""Bytes read at a time; when the connection breaks, those of the last chunk are lost."""

_PASSING = {429, 500, 502, 503, 504}
"""Answers of a server that may well answer otherwise a little later."""


def download(url: str, part: Path, tell: Callable[[int, int], None]) -> None:
    """Bring the file ``part`` to its full length, from wherever it ends.

    Whether it is the right file is for a checksum to say: a part may be of another version.

    Parameters
    ----------
    url
        Address of the whole file.
    part
        What has come of it, if anything; it stays when this fails.
    tell
        Called with the bytes that have come and those of the whole file, which are 0 if not known.

    Raises
    ------
    FetchError
        If the server cannot be reached, breaks off again and again, or has no such file.
    OutputError
        If the disk has no room for what is to come.
    """
    import requests  # it comes with pooch, so it may be missing

    longest, left = _size(part), _ATTEMPTS
    while True:
        try:
            return _receive(url, part, tell)
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            left = _ATTEMPTS if _size(part) > longest else left - 1
            if not left:
                raise FetchError(
                    f"no connection to '{url}', or one that breaks off ({_cause(error)})",
                    expected="a connection that lasts",
                    action="run the same command again later: it goes on where it ended",
                ) from error
        except requests.RequestException as error:
            raise _refused(url, _cause(error)) from error
        longest = max(longest, _size(part))
        time.sleep(_PAUSE_S)


def _receive(url: str, part: Path, tell: Callable[[int, int], None]) -> None:
    """Ask once for what ``part`` lacks and append it; start over if the server sends all of it again."""
    import requests

    have = _size(part)
    # Bytes are counted, so they must not be compressed on the way.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
        if response.status_code == 416 and _content_range(response) == f"*/{have}":
            return  # it had all come before
        goes_on = response.status_code == 206 and _content_range(response).startswith(f"{have}-")
        if response.status_code in (206, 416) and not goes_on:
            part.unlink(missing_ok=True)
            raise requests.ConnectionError("the server cannot go on from there")
        if response.status_code in _PASSING:
            raise requests.ConnectionError(f"status {response.status_code}")
        if not response.ok:
            raise _refused(url, f"status {response.status_code}")
        length = int(response.headers.get("Content-Length", 0))
        whole = length and length + (have if goes_on else 0)
        check_room(part.parent, length, f"'{url}'")
        with part.open("ab" if goes_on else "wb") as file:
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                tell(file.tell(), whole)
            if file.tell() < whole:  # urllib3 before 2.0 does not notice
                raise requests.ConnectionError(f"{file.tell()} of {whole} bytes came")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _content_range(response: Any) -> str:
    """Which bytes were sent of how many, such as ``100-199/200``."""
    told: str = response.headers.get("Content-Range", "")
    return told.removeprefix("bytes ")


def _refused(url: str, why: str) -> FetchError:
    return FetchError(
        f"'{url}' cannot be fetched ({why})",
        expected="the address of a file that anybody may have",
        action="check --base-address",
    )


def _cause(error: BaseException) -> str:
    """Word the first of a chain of errors, which says most in the fewest words."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return str(error)

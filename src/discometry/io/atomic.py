"""Files and folders that appear whole or not at all: built under a hidden name, then renamed into place."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from discometry.core.errors import OutputError

__all__ = ["check_folder", "check_room", "new_file", "new_folder"]


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give a hidden name beside ``path`` to write to; it takes the place of ``path`` at the end.

    When the body raises, nothing is left and an older ``path`` stays as it was.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    partial = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        partial.touch(exist_ok=False)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def check_folder(path: Path, *, ours: Callable[[Path], bool]) -> None:
    """Refuse a place where :func:`new_folder` could not put a folder; nothing is written.

    Parameters
    ----------
    path
        The folder to be made or replaced.
    ours
        Tells whether an existing folder that is not empty may be replaced.

    Raises
    ------
    OutputError
        If a file or a foreign folder is in the way, or the folder above cannot be written.
    """
    try:
        taken = path.is_dir() and any(path.iterdir()) and not ours(path)
    except OSError as error:
        raise _not_written(path, error) from error
    if taken:
        raise OutputError(
            f"'{path}' holds files that are not an earlier result of this kind",
            expected="a new or empty folder, or one that discometry wrote",
            action="choose another folder, or move those files away",
        )
    above = path if path.is_dir() else path.parent
    if path.exists() and not path.is_dir():
        raise _in_the_way(path)
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise _in_the_way(above)
    if not os.access(above, os.W_OK | os.X_OK):
        raise OutputError(
            f"'{above}' cannot be written",
            expected="a folder with permission to write",
            action="choose another folder or change its permissions",
        )


def check_room(folder: Path, size_bytes: int, what: str) -> None:
    """Refuse to write what the disk has no room for.

    Parameters
    ----------
    folder
        An existing folder on that disk.
    size_bytes
        How much is going to be written.
    what
        What that is, for the message.

    Raises
    ------
    OutputError
        If the disk is short.
    """
    free = shutil.disk_usage(folder).free
    if size_bytes > free:
        raise OutputError(
            f"{what} takes {size_bytes / 1e6:,.1f} MB; the disk of '{folder}' has {free / 1e6:,.1f} MB left",
            expected="room for it",
            action="make room or choose another folder, then run the same command again",
        )


@contextmanager
def new_folder(path: Path, *, ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Give a hidden folder beside ``path`` to fill; it takes the place of ``path`` at the end.

    When the body raises, nothing is left, not even folders above that had to be made, and an older
    ``path`` stays as it was. ``ours`` is as in :func:`check_folder`.

    Raises
    ------
    OutputError
        As :func:`check_folder`, or if writing fails.
    """
    path = Path(os.path.realpath(path))
    check_folder(path, ours=ours)
    made = [folder for folder in path.parents if not folder.exists()]
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    done = False
    try:
        partial.mkdir(parents=True)
        yield partial
        _swap(partial, path)
        done = True
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        if not done:
            shutil.rmtree(partial, ignore_errors=True)
            with contextlib.suppress(OSError):
                for folder in made:
                    folder.rmdir()


def _swap(partial: Path, path: Path) -> None:
    """Rename ``partial`` to ``path``; an older folder there steps aside first and is deleted last."""
    if not path.exists():
        os.rename(partial, path)
        return
    older = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    os.rename(path, older)
    try:
        os.rename(partial, path)
    except OSError:
        os.rename(older, path)
        raise
    shutil.rmtree(older, ignore_errors=True)


def _in_the_way(path: Path) -> OutputError:
    return OutputError(
        f"'{path}' is a file",
        expected="a folder or a free name",
        action="choose another place, or move the file",
    )


def _not_written(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"'{path}' cannot be written ({error.strerror or error})",
        expected="a place with room and with permission to write",
        action="choose another place, or make room",
    )

"""Zip files from elsewhere, unpacked into one folder and nowhere else."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from discometry.core.errors import FetchError
from discometry.io.atomic import check_folder, check_room, new_file

__all__ = ["has_size", "unpack"]

_CHUNK = 1 << 20


def unpack(archive: Path, folder: Path, tell: Callable[[int, int], None]) -> dict[str, int]:
    """Unpack the files of a zip file into ``folder``, each of which appears whole or not at all.

    In the archive they lie at the top, or in one folder of the same name as ``folder``. Those that are
    there already are left alone.

    Parameters
    ----------
    archive
        The zip file.
    folder
        Where its files go; it is made.
    tell
        Called with the bytes unpacked so far and those of all files.

    Returns
    -------
    dict
        Size in bytes of every file, by its name in ``folder``.

    Raises
    ------
    FetchError
        If the archive holds anything but such files, when nothing is unpacked; or if it is broken.
    OutputError
        If the disk has no room for the files, or they cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            entries = _entries(zipped, archive, folder.name)
            sizes = {name: entry.file_size for name, entry in entries.items()}
            lacking = [name for name, entry in entries.items() if not _is_there(folder / name, entry)]
            whole, to_do = sum(sizes.values()), sum(sizes[name] for name in lacking)
            check_folder(folder, ours=lambda _: True)
            folder.mkdir(exist_ok=True)
            check_room(folder, to_do, f"unpacking '{archive}'")
            for name in lacking:
                # What unpacks to more than its listed size is cut off there, and then its CRC is wrong.
                with (
                    zipped.open(entries[name]) as source,
                    new_file(folder / name) as partial,
                    partial.open("wb") as target,
                ):
                    shutil.copyfileobj(source, target, _CHUNK)
                to_do -= sizes[name]
                tell(whole - to_do, whole)
            return sizes
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: encrypted
        raise _refused(archive, f"cannot be unpacked ({error})") from error


def has_size(path: Path, size_bytes: int) -> bool:
    """Tell whether a file is there in its full size."""
    return path.is_file() and path.stat().st_size == size_bytes


def _is_there(path: Path, entry: zipfile.ZipInfo) -> bool:
    """Tell whether a file is what an entry unpacks to; images of two versions may be of one size."""
    if not has_size(path, entry.file_size):
        return False
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc == entry.CRC


def _entries(zipped: zipfile.ZipFile, archive: Path, folder: str) -> dict[str, zipfile.ZipInfo]:
    """List the files of an archive by their names without the top folder; refuse whatever else it holds."""
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in zipped.infolist():
        where = entry.filename
        # macOS adds notes of its own to an archive; they are left where they are.
        if where == f"{folder}/" or where.startswith("__MACOSX/") or where.split("/")[-1] == ".DS_Store":
            continue
        name = where.removeprefix(f"{folder}/")
        if name in found or not _is_plain(entry, name):
            raise _refused(archive, f"holds {where!r}")
        found[name] = entry
    if not found:
        raise _refused(archive, "is empty")
    return found


def _is_plain(entry: zipfile.ZipInfo, name: str) -> bool:
    """Tell whether an entry is a file, no link and no device, whose name leads nowhere else."""
    return (
        not name.startswith(".")
        and not set(name) & set("/\\:")
        and stat.S_IFMT(entry.external_attr >> 16) in (0, stat.S_IFREG)
        and entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    )


def _refused(archive: Path, why: str) -> FetchError:
    return FetchError(
        f"'{archive}' {why}",
        expected=f"a sound zip file of files at its top or in its folder {archive.stem}",
        action="check --base-address, or delete that file and run the same command again",
    )

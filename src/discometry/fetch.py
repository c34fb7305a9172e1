"""The public data set SPIDER: fetched, checked, and unpacked into the folder that the trainings read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from discometry.core.errors import FetchError, OutputError
from discometry.io.archive import has_size, unpack
from discometry.io.atomic import check_folder, new_file
from discometry.io.download import download

__all__ = ["SPIDER_ADDRESS", "SPIDER_FILES", "Progress", "fetch_spider"]

SPIDER_ADDRESS = "https://zenodo.org/records/10159290/files"
"""Where SPIDER's files are served, before ``/NAME``."""

SPIDER_FILES: Mapping[str, str] = {
    "overview.csv": "f9a808d2cf67844baa32114a1a769fde",
    "radiological_gradings.csv": "a5b7a6ad7fb4daa0bfa650b716f026f6",
    "masks.zip": "49861ff25a0108b3b69d0ce808ae51dc",
    "images.zip": "7a9fa44aac0c72e2937bdef62cff88db",
}
"""MD5 of SPIDER's files; the small ones come first, so that a wrong address shows at once."""

Progress = Callable[[str, int, int], None]
"""Called with what is under way, how many bytes of it are done, and how many there are."""


def fetch_spider(
    out: Path,
    *,
    base_address: str = SPIDER_ADDRESS,
    files: Mapping[str, str] = SPIDER_FILES,
    keep_archives: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Fetch SPIDER into ``out``: ``images/*.mha``, ``masks/*.mha`` and two tables.

    What is there and whole is not fetched again; what has come in part is gone on with.

    Parameters
    ----------
    out
        Folder to fill.
    base_address
        Where the files are served, before ``/NAME``.
    files
        MD5 of every file by its name; ``NAME.zip`` is unpacked into ``out/NAME``.
    keep_archives
        Whether an archive stays after it was unpacked.
    progress
        Told how far the download and the unpacking are.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    FetchError
        If pooch is not installed, or a file cannot be had, is not the right one, or does not unpack.
    OutputError
        If ``out`` cannot be written or its disk is short.
    """
    pooch = _pooch()
    check_folder(out, ours=lambda _: True)
    tell: Progress = progress or (lambda *_: None)
    try:
        for name, md5 in files.items():
            path = out / name
            if _is_unpacked(path, md5):
                continue
            _retrieve(pooch, f"{base_address.rstrip('/')}/{name}?download=1", path, md5, partial(tell, name))
            if path.suffix == ".zip":
                sizes = unpack(path, path.with_suffix(""), partial(tell, f"unpack {name}"))
                with new_file(_record(path)) as file:
                    file.write_text(json.dumps({"md5": md5, "sizes": sizes}), encoding="utf-8")
                if not keep_archives:
                    path.unlink()
    except OSError as error:
        raise OutputError(
            f"'{error.filename or out}' cannot be used ({error.strerror or error})",
            expected="a folder with room and with permission to read and write",
            action="make room or choose another --out, then run the same command again",
        ) from error
    return out


def _pooch() -> Any:
    """Import pooch, which only the extra ``data`` installs, and keep it from writing to the terminal."""
    try:
        import pooch
    except ImportError as error:
        raise FetchError(
            "the package pooch is not installed",
            expected="the packages that fetching needs",
            action="install them with: pip install 'discometry[data]'",
        ) from error
    pooch.get_logger().setLevel("WARNING")
    return pooch


def _retrieve(pooch: Any, url: str, path: Path, md5: str, tell: Callable[[int, int], None]) -> None:
    """Have the file at ``path`` with the right checksum; what comes with a wrong one is deleted."""

    def to_temporary(url: str, temporary: str, _: object) -> None:
        part = path.with_name(f".{path.name}.part")
        download(url, part, tell)
        part.replace(temporary)

    try:
        pooch.retrieve(url, f"md5:{md5}", path.name, path.parent.absolute(), downloader=to_temporary)
    except ValueError as error:
        raise FetchError(
            f"'{url}' has a wrong checksum and was deleted",
            expected=f"a file with MD5 {md5}",
            action="run the same command again, or check --base-address",
        ) from error


def _record(archive: Path) -> Path:
    """Where it is noted what was unpacked from an archive, since the archive itself goes."""
    return archive.with_name(f".{archive.name}.json")


def _is_unpacked(archive: Path, md5: str) -> bool:
    """Tell whether all files of this archive are there in the size that they had in it."""
    try:
        record = json.loads(_record(archive).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    folder = archive.with_suffix("")
    return record["md5"] == md5 and all(
        has_size(folder / name, size) for name, size in record["sizes"].items()
    )

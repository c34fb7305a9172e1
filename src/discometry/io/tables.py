"""Tables that people give: CSV and TSV as text, Parquet; what cannot be one is refused in one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from discometry.core.errors import InputError

__all__ = ["LARGEST_TABLE", "exists", "read_parquet", "read_text_table"]

LARGEST_TABLE = 2**26
"""Bytes of a table, packed or not."""
_MOST_ROWS = 10**7


def read_text_table(path: Path, *, separator: str | None = ",", expected: str) -> pd.DataFrame:
    """Read a CSV or TSV table as text, empty lines too, so that the number of a row is that of its line.

    Parameters
    ----------
    path
        The table, UTF-8.
    separator
        None takes the one of comma, semicolon and tab that the header has most of.
    expected
        What should be in the table, for the error.

    Raises
    ------
    InputError
        If it is too large, or no table.
    """
    try:
        _check_size(path.stat().st_size)
        table = pd.read_csv(
            path,
            sep=_separator(path) if separator is None else separator,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
            encoding="utf-8-sig",
        )
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError("rows have more cells than the header")
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        raise _unreadable(path, error, expected) from error
    return table


def read_parquet(path: Path, columns: Sequence[str], *, expected: str) -> tuple[list[str], pd.DataFrame]:
    """Read some columns of a Parquet table.

    Returns
    -------
    The names of all its columns, and those of the wanted ones that it has.

    Raises
    ------
    InputError
        If it is too large once unpacked, or no table.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        _check_size(path.stat().st_size)
        with ParquetFile(path) as file:
            about = file.metadata
            sizes = [about.row_group(number).total_byte_size for number in range(about.num_row_groups)]
            _check_size(sum(sizes))
            if about.num_rows > _MOST_ROWS:
                raise ValueError(f"more than {_MOST_ROWS:,} rows")
            names = [str(name) for name in file.schema_arrow.names]
            wanted = [name for name in columns if names.count(name) == 1]
            # without the metadata, which tell pandas how to make objects of its own
            table = file.read(columns=wanted, use_threads=False).to_pandas(ignore_metadata=True)
    except (OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError, pa.ArrowException) as error:
        raise _unreadable(path, error, expected) from error
    return names, table[wanted]


def exists(path: Path) -> bool:
    """Tell whether a path that a table names is there; one that no file can have is not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _check_size(size: int) -> None:
    if size > LARGEST_TABLE:
        raise ValueError(f"more than {LARGEST_TABLE >> 20} MiB")


def _separator(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        header = stream.readline()
    return max(",;\t", key=header.count)


def _unreadable(path: Path, error: Exception, expected: str) -> InputError:
    why = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(
        f"'{path}' cannot be read as a table ({why})",
        expected=expected,
        action="save it as CSV in UTF-8" if path.suffix.lower() != ".tsv" else "save it as TSV in UTF-8",
    )

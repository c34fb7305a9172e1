"""What can go wrong for a user, each error saying what was found, what was expected and what to do."""

from __future__ import annotations

__all__ = [
    "BundleError",
    "DiscometryError",
    "FetchError",
    "GridError",
    "InputError",
    "LabelError",
    "OutputError",
]

_LONGEST = 1000


class DiscometryError(Exception):
    """Base of every error that a user can mend.

    Parameters
    ----------
    found
        What was met, naming the file or option.
    expected
        What would have been right.
    action
        The next thing to do.
    anonymous
        ``found`` without what may tell who was scanned, for what is written to a file; None: the same.
    """

    def __init__(self, found: str, *, expected: str, action: str, anonymous: str | None = None) -> None:
        self.found, self.expected, self.action = map(_one_line, (found, expected, action))
        self.anonymous = self.found if anonymous is None else _one_line(anonymous)
        super().__init__(f"{self.found}; expected {self.expected}; {self.action}")


def _one_line(text: str) -> str:
    """Make a text one line that no terminal obeys and a person can read, whatever a file holds."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} .."


class InputError(DiscometryError):
    """A file or folder that cannot be read as a volume, or holds no usable data."""


class GridError(DiscometryError):
    """A voxel grid that makes no sense, or two grids that should agree and do not."""


class LabelError(DiscometryError):
    """A mask whose values name no disc under any known label convention."""


class BundleError(DiscometryError):
    """A model bundle that is missing, corrupted, or of another format version."""


class OutputError(DiscometryError):
    """A result folder that cannot be written."""


class FetchError(DiscometryError):
    """A file that cannot be had from elsewhere, or is not what it should be."""

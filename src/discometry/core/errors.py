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
    """

    def __init__(self, found: str, *, expected: str, action: str) -> None:
        self.found, self.expected, self.action = map(_one_line, (found, expected, action))
        super().__init__(f"{self.found}; expected {self.expected}; {self.action}")


def _one_line(text: str) -> str:
    """Make a text one line that no terminal obeys, whatever a file's name holds."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


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

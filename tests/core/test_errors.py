from __future__ import annotations

import pytest

from discometry.core import errors


@pytest.mark.parametrize("name", errors.__all__)
def test_an_error_says_what_was_found_expected_and_to_be_done_in_one_line(name: str) -> None:
    error = getattr(errors, name)("a\nbroken  file", expected="a\twhole one", action="copy\nit again")
    assert str(error) == "a broken file; expected a whole one; copy it again"
    assert (error.found, error.expected, error.action) == ("a broken file", "a whole one", "copy it again")
    assert isinstance(error, errors.DiscometryError)

"""Every reader against thousands of damaged and made-up files."""

from __future__ import annotations

from collections.abc import Callable

from volumes_on_disk import metaimages, niftis, nrrds

Attack = Callable[..., None]


def test_metaimages(attack: Attack) -> None:
    attack("image", metaimages(), share=0.2)


def test_niftis(attack: Attack) -> None:
    attack("image", niftis(), share=0.2)


def test_nrrds(attack: Attack) -> None:
    attack("image", nrrds(), share=0.2)

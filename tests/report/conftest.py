"""What ``read_study`` gives of a finished folder, made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_up_study import make_image, make_labels, make_manifest, make_meshes, make_table

from discometry.io.results import StudyFiles


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., StudyFiles]:
    """Make what ``read_study`` gives of a finished folder."""

    def build(
        *, study: str = "phantom-1", n_discs: int = 5, image: bool = True, **changes: Any
    ) -> StudyFiles:
        labels = make_labels(n_discs)
        parts: dict[str, Any] = {
            "folder": tmp_path,
            "manifest": make_manifest(study),
            "discs": make_table(labels, study),
            "labels": labels,
            "image": make_image(labels) if image else None,
            "meshes": make_meshes(labels),
        }
        return StudyFiles(**parts | changes)

    return build

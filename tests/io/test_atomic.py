from __future__ import annotations

import os
from pathlib import Path

import pytest

from discometry.core.errors import OutputError
from discometry.io.atomic import check_folder, new_file, new_folder


def anything(_: Path) -> bool:
    return True


def nothing(_: Path) -> bool:
    return False


def tree(folder: Path) -> dict[str, str | None]:
    """All files with their text, and all folders, below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_text() if path.is_file() else None
        for path in folder.rglob("*")
    }


def half_a_file(target: Path, end: BaseException) -> None:
    with new_file(target) as partial:
        partial.write_text("half")
        raise end


def half_a_folder(target: Path, end: BaseException) -> None:
    with new_folder(target, ours=nothing) as partial:
        (partial / "a.txt").write_text("half")
        raise end


def test_a_file_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with new_file(target) as partial:
        partial.write_text("new")
        assert partial.parent == tmp_path
        assert partial.name.startswith(".")
        assert partial.name.endswith(".a.txt")
        assert target.read_text() == "old"
    assert tree(tmp_path) == {"a.txt": "new"}


def test_an_interrupted_file_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        half_a_file(target, KeyboardInterrupt())
    assert tree(tmp_path) == {"a.txt": "old"}


def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space left"):
        half_a_file(tmp_path / "a.txt", OSError(28, "No space left on device"))
    assert tree(tmp_path) == {}


def test_a_folder_appears_whole_with_those_above_it(tmp_path: Path) -> None:
    target = tmp_path / "x" / "y" / "result"
    with new_folder(target, ours=nothing) as partial:
        (partial / "a.txt").write_text("new")
        assert not target.exists()
        assert partial.parent == target.parent
    assert tree(target) == {"a.txt": "new"}
    assert [path.name for path in target.parent.iterdir()] == ["result"]


def test_an_interrupted_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        half_a_folder(tmp_path / "x" / "y", KeyboardInterrupt())
    assert tree(tmp_path) == {}


def test_an_older_folder_of_ours_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "result"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with new_folder(target, ours=anything) as partial:
        (partial / "new.txt").write_text("new")
        assert (target / "old.txt").exists()
    assert tree(tmp_path) == {"result": None, "result/new.txt": "new"}


def test_an_older_folder_survives_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "result"
    target.mkdir()
    (target / "old.txt").write_text("old")
    rename = os.rename

    def fail(source: Path, to: Path) -> None:
        if Path(to) == target and (Path(source) / "new.txt").exists():
            raise OSError(5, "Input/output error")
        rename(source, to)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OutputError, match="Input/output error"), new_folder(target, ours=anything) as partial:
        (partial / "new.txt").write_text("new")
    assert tree(tmp_path) == {"result": None, "result/old.txt": "old"}


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "photos"
    target.mkdir()
    (target / "holiday.jpg").write_text("precious")
    with pytest.raises(OutputError, match="not an earlier result"), new_folder(target, ours=nothing):
        pytest.fail("the body ran")
    assert tree(tmp_path) == {"photos": None, "photos/holiday.jpg": "precious"}


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with new_folder(tmp_path / "empty", ours=nothing) as partial:
        (partial / "a.txt").write_text("new")
    assert tree(tmp_path / "empty") == {"a.txt": "new"}


def test_a_link_to_a_folder_keeps_being_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with new_folder(tmp_path / "link", ours=nothing) as partial:
        (partial / "a.txt").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert tree(tmp_path / "real") == {"a.txt": "new"}


@pytest.mark.parametrize("below", ["file", "file/result", "file/deep/deeper/result"])
def test_a_file_in_the_way_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("precious")
    for attempt in (
        lambda: check_folder(tmp_path / below, ours=anything),
        lambda: new_folder(tmp_path / below, ours=anything).__enter__(),
    ):
        with pytest.raises(OutputError, match="file' is a file"):
            attempt()
    assert tree(tmp_path) == {"file": "precious"}


def test_a_folder_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(OutputError, match="permission"):
        check_folder(tmp_path / "a" / "b", ours=anything)


def test_a_folder_that_cannot_be_looked_into_is_refused(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked" / "a").write_text("")

    def locked(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(OutputError, match="Permission denied"):
        check_folder(tmp_path / "locked", ours=locked)


def test_checking_writes_nothing(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b", ours=nothing)
    assert tree(tmp_path) == {}

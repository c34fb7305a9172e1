"""The python and console blocks of the README and the documentation run, and do what they say.

The blocks of one document run in order and share names. They find ``study.nii.gz``, a small phantom MRI, and
``mask.nii.gz``, its disc labels, in an otherwise empty folder. A block that is not run says why above it,
as in ``<!-- not run: it takes hours -->``; the options of its discometry commands must exist all the same.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from discometry.cli import main

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

_FENCE = re.compile(r"^```(?P<language>\w*).*\n(?P<code>(?:.*\n)*?)```$", re.MULTILINE)
_NOT_RUN = re.compile(r"<!-- not run: \S.* -->\s*\Z")
_SHOWN_ONLY = {"bibtex", "csv", "json", "text"}


@dataclass(frozen=True)
class Block:
    """A fenced block: where its code starts, its language and code, and whether it is run."""

    line: int
    language: str
    code: str
    runs: bool

    def commands(self) -> list[list[str]]:
        """The words of each command of a console block."""
        lines = self.code.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(text: str) -> Iterator[Block]:
    """Find every fenced block of a document."""
    for match in _FENCE.finditer(text):
        language, code = match["language"], match["code"]
        excused = _NOT_RUN.search(text, 0, match.start())
        line = text.count("\n", 0, match.start("code")) + 1
        yield Block(line, language, code, language not in _SHOWN_ONLY and not excused)


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


@pytest.fixture(scope="session")
def phantom_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the MRI and the disc labels of one small phantom."""
    from discometry.core.phantom import phantom_grid, render_discs, sample_phantom
    from discometry.core.phantom_mri import render_mri
    from discometry.io.images import write_volume

    folder = tmp_path_factory.mktemp("phantom")
    phantom = sample_phantom(4)
    grid = phantom_grid(phantom, spacing_mm=(4.0, 1.0, 1.0))
    write_volume(render_mri(phantom, grid, contrast="t2", seed=4), folder / "study.nii.gz")
    write_volume(render_discs(phantom, grid), folder / "mask.nii.gz")
    return folder


def run(words: list[str]) -> None:
    """Run one command of a console block in this process; it must end well."""
    assert words[0] == "discometry", f"only discometry commands can be run, not {words[0]!r}"
    try:
        code: Any = main(words[1:])
    except SystemExit as end:
        code = end.code
    assert code in (0, None), f"{shlex.join(words)} ended with exit code {code}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_blocks_run(
    document: Path, phantom_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(phantom_study, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(document.read_text(encoding="utf-8")):
        if block.runs and block.language == "python":
            # The blank lines put the document's own line numbers into a traceback.
            exec(compile("\n" * (block.line - 1) + block.code, str(document), "exec"), names)
        elif block.runs:
            for words in block.commands():
                run(words)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_block_is_run_or_says_why_not(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    found = list(blocks(text))
    assert len(found) * 2 == len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE)), (
        "a fence that is not found"
    )
    for block in found:
        where = f"{name_of(document)}:{block.line}"
        assert block.language in {"python", "console", *_SHOWN_ONLY}, f"{where}: language {block.language!r}"
        if block.language == "console" and block.runs:
            starts = {words[0] for words in block.commands()}
            assert starts == {"discometry"}, f"{where}: cannot be run, so it must say why above"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_that_are_not_run_have_options_that_exist(
    document: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console = [block for block in blocks(document.read_text(encoding="utf-8")) if block.language == "console"]
    for words in [words for block in console if not block.runs for words in block.commands()]:
        if words[0] != "discometry":
            continue
        options = [word for word in words if word.startswith("--")]
        before = words[1 : words.index(options[0])] if options else words[1:]
        with pytest.raises(SystemExit) as end:
            main([*before, "--help"])
        told = capsys.readouterr().out
        assert end.value.code == 0
        assert [option for option in options if option not in told] == [], shlex.join(words)


def test_blocks_are_found_and_read() -> None:
    text = "A\n\n```python\nx = 1\n```\n\n<!-- not run: hours -->\n"
    text += "```console\na b \\\n  c  # d\n```\n```text\nz\n```\n"
    assert list(blocks(text)) == [
        Block(4, "python", "x = 1\n", True),
        Block(9, "console", "a b \\\n  c  # d\n", False),
        Block(13, "text", "z\n", False),
    ]
    assert [block.commands() for block in blocks(text)][1] == [["a", "b", "c"]]


@pytest.mark.parametrize("command", ["discometry nonsense", "discometry analyse", "make demo"])
def test_command_that_fails_is_noticed(command: str) -> None:
    with pytest.raises(AssertionError, match=r"ended with exit code 2|only discometry"):
        run(command.split())

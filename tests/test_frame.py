"""The frame around the code: what make sets up, what is pinned, what the README promises."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import discometry

ROOT = Path(__file__).parents[1]

FAKE_PYTHON = """#!/bin/sh
# Stands in for Python: answers what .ci asks, notes every other call, and fails at pip when told to.
case "$*" in
*version_info*) echo "${FAKE_VERSION:-3.12.4}" ;;
*ensurepip*) [ -z "$FAKE_BARE" ] ;;
--version) echo "Python ${FAKE_VERSION:-3.12.4}" ;;
"-m venv "*) echo "$*" >>"$FAKE_LOG"; mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
*)
    echo "$*" >>"$FAKE_LOG"
    echo "Collecting torch==1.0"
    [ -z "$FAKE_FAIL" ] || { echo "ERROR: no route"; exit 1; }
    ;;
esac
"""

NEEDED = ("awk", "cat", "chmod", "cksum", "cp", "dirname", "grep", "mkdir", "mv", "rm", "sed", "sh", "tail")


@dataclass(frozen=True)
class Machine:
    """A copy of the frame on a machine with a fake Python, or none, and no other program than it needs."""

    clone: Path
    programs: Path

    def add_python(self, name: str) -> Path:
        path = self.programs / name
        path.write_text(FAKE_PYTHON)
        path.chmod(0o755)
        return path

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        make = shutil.which("make")
        assert make is not None
        # A test run by make must not pass make's own variables on.
        kept = {"FAKE_LOG": str(self.clone / "calls"), "FAKE_FAIL": "", "FAKE_BARE": ""}
        return subprocess.run(
            [make, "--no-print-directory", *arguments],
            cwd=self.clone,
            env={"PATH": str(self.programs), "LC_ALL": "C", **kept, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def calls(self) -> list[str]:
        """Take what the fake Python was asked to do since the last time."""
        log = self.clone / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    clone, programs = tmp_path / "a clone", tmp_path / "programs"
    shutil.copytree(ROOT / ".ci", clone / ".ci")
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, clone)
    programs.mkdir()
    for name in NEEDED:
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    return Machine(clone, programs)


def test_set_up_installs_once(machine: Machine) -> None:
    machine.add_python("python3")
    first = machine.make("venv")
    assert first.returncode == 0, first.stderr
    assert [re.sub(r" --disable.*input", "", call) for call in machine.calls()] == [
        "-m venv .venv",
        "-m pip install -r requirements.lock",
        "-m pip install --no-deps --no-build-isolation --editable .",
    ]
    second = machine.make("venv")
    assert (second.returncode, second.stdout, machine.calls()) == (0, "", [])


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_set_up_follows_a_change_without_starting_over(machine: Machine, name: str) -> None:
    machine.add_python("python3")
    machine.make("venv")
    machine.calls()
    with (machine.clone / name).open("a") as file:
        file.write("# changed\n")
    assert machine.make("venv").returncode == 0
    assert [call.split()[1] for call in machine.calls()] == ["pip", "pip"]


def test_interrupted_set_up_is_done_again_from_the_start(machine: Machine) -> None:
    machine.add_python("python3")
    failed = machine.make("venv", FAKE_FAIL="yes")
    assert failed.returncode != 0
    assert "ERROR: no route" in failed.stdout
    assert "install.log" in failed.stderr
    machine.calls()
    assert machine.make("venv").returncode == 0
    assert machine.calls()[0] == "-m venv .venv"
    assert machine.make("venv").stdout == ""


def test_failed_update_is_done_again(machine: Machine) -> None:
    machine.add_python("python3")
    machine.make("venv")
    (machine.clone / "requirements.lock").write_text("torch==1.0\n")
    assert machine.make("venv", FAKE_FAIL="yes").returncode != 0
    machine.calls()
    assert machine.make("venv").returncode == 0
    assert len(machine.calls()) >= 2


def test_environment_moved_with_its_folder_is_made_anew(machine: Machine) -> None:
    machine.add_python("python3")
    machine.make("venv")
    moved = Machine(machine.clone.rename(machine.clone.with_name("elsewhere")), machine.programs)
    moved.calls()
    assert moved.make("venv").returncode == 0
    assert moved.calls()[0] == "-m venv .venv"


def test_another_python_can_be_asked_for(machine: Machine) -> None:
    machine.add_python("python3")
    machine.make("venv")
    machine.calls()
    other = machine.add_python("python3.13")
    other.write_text(FAKE_PYTHON.replace("3.12.4", "3.13.1"))
    for arguments, environment in ((("PYTHON=python3.13",), {}), ((), {"PYTHON": "python3.13"})):
        assert machine.make("venv", *arguments, **environment).returncode == 0
    assert machine.calls()[0] == "-m venv .venv"
    assert machine.calls() == []
    assert "3.13.1" in (machine.clone / ".venv" / "bin" / "python").read_text()


def test_newer_python_is_found_behind_an_old_one(machine: Machine) -> None:
    machine.add_python("python3").write_text(FAKE_PYTHON.replace("3.12.4", "3.9.2"))
    machine.add_python("python3.12")
    assert machine.make("venv").returncode == 0


def test_missing_python_is_named(machine: Machine) -> None:
    told = machine.make("test")
    assert told.returncode != 0
    assert "needs Python 3.11 or newer; none was found" in told.stderr
    assert "apt install python3 python3-venv" in told.stderr
    assert not (machine.clone / ".venv").exists()


@pytest.mark.parametrize("version", ["2.7.18", "3.10.13"])
def test_old_python_is_named(machine: Machine, version: str) -> None:
    machine.add_python("python3")
    told = machine.make("demo", FAKE_VERSION=version)
    assert told.returncode != 0
    assert f"needs Python 3.11 or newer; python3 is Python {version}" in told.stderr
    assert not (machine.clone / ".venv").exists()


def test_missing_venv_is_named(machine: Machine) -> None:
    machine.add_python("python3")
    told = machine.make("check", FAKE_BARE="yes")
    assert told.returncode != 0
    assert "lacks the modules venv and ensurepip" in told.stderr
    assert "apt install python3.12-venv" in told.stderr


def test_help_is_the_default_and_names_every_target(machine: Machine) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    told = machine.make().stdout
    assert [line.split()[1] for line in told.splitlines()] == targets


def test_lock_pins_every_dependency_in_the_range_asked_for() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []
    locked = {canonicalize_name(name): version for name, version in (pin.split("==") for pin in pins)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [
        *project["project"]["dependencies"],
        *(one for extra in project["project"]["optional-dependencies"].values() for one in extra),
        *project["build-system"]["requires"],
    ]
    for requirement in map(Requirement, asked):
        if requirement.name == project["project"]["name"]:
            continue  # the other extras
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"requirements.lock lacks {requirement.name}: run `make lock`"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement}, locked {version}"


def test_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert discometry.__version__ == project["version"]
    assert f"\nversion: {project['version']}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\nlicense: {project['license']}\n" in (ROOT / "CITATION.cff").read_text()
    assert project["requires-python"] == ">=3.11"


def test_readme_names_every_module() -> None:
    modules = (ROOT / "src" / "discometry").rglob("*.py")
    names = {path.relative_to(ROOT / "src" / "discometry").as_posix() for path in modules}
    named = re.findall(r"^\| `([\w/]+\.py)` \| \S", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(name for name in names if not name.endswith("__init__.py")), (
        "run `make readme`"
    )


def test_ci_runs_what_contributors_are_told_to_run() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    for target in ("check", "docs", "test"):
        assert f"\nmake {target}\n" in script.read_text()
        assert f"make {target}" in (ROOT / "CONTRIBUTING.md").read_text()


def test_import_loads_nothing_heavy() -> None:
    heavy = {"SimpleITK", "monai", "pandas", "scipy", "torch"}
    code = f"import sys, discometry; print(*{heavy} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""

"""Keep the README's module map: one row a module, worded by the module's own docstring."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("", "stages", "core", "networks", "io", "training", "report")
FIRST = (
    "pipeline",
    "study",
    "cohort",
    "cohort_client",
    "cohort_worker",
    "cohort_study",
    "cohort_tables",
    "isolation",
    "explanation",
    "cli",
    "prepare",
    "segment",
    "separate",
    "measure",
    "encode",
    "intensity",
    "classify",
    "explain",
)
START, END = "<!-- module map: written by `make readme` -->\n", "<!-- end of module map -->\n"


def rank(path: Path) -> tuple[int, int, str]:
    """Order packages as above, stages as a study passes them, the rest by name."""
    package = path.parent.as_posix().removeprefix(".")
    place = FIRST.index(path.stem) if path.stem in FIRST else len(FIRST)
    return PACKAGES.index(package), place, path.stem


def row(source: Path, path: Path) -> str:
    """Word one row: a module's path, and the first paragraph of its docstring."""
    told = ast.get_docstring(ast.parse((source / path).read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(told.split("\n\n")[0].split()).replace("``", "`").replace("|", "\\|")
    if not paragraph:
        raise SystemExit(f"src/discometry/{path} has no docstring, so the README cannot say what it is")
    return f"| `{path.as_posix()}` | {paragraph} |\n"


def module_map() -> str:
    """Word the whole table."""
    source = ROOT / "src" / "discometry"
    modules = [path.relative_to(source) for path in source.rglob("*.py") if path.name != "__init__.py"]
    rows = [row(source, path) for path in sorted(modules, key=rank)]
    return "| module | what it is |\n|---|---|\n" + "".join(rows)


def main() -> None:
    """Write the map into the README; with ``--check``, only tell whether it is there."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(START)
    _, after = rest.split(END)
    fresh = before + START + module_map() + END + after
    if "--check" not in sys.argv[1:]:
        readme.write_text(fresh, encoding="utf-8")
    elif fresh != text:
        raise SystemExit("The README's module map is out of date: run `make readme`.")


if __name__ == "__main__":
    main()

"""Read hostile cases one after another in a process that may die of them, and say how each ended.

A line of JSON on standard input names a reader and a path; a line of JSON on standard output answers.
Memory is limited to what the libraries take when they are loaded, and ``SPARE_BYTES``.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from discometry.core.errors import DiscometryError

SPARE_BYTES = 3 << 29
_UNPACKING = "discometry.io.packed_slices"
"""The one process that a reader starts."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "subprocess.Popen",
    "pickle.find_class",
    "socket.connect",
)


def image(path: Path) -> None:
    """What an analysis does with its input before the first stage."""
    from discometry.io.images import check_image, check_mask, read_image, read_mask
    from discometry.io.study_input import content_hash

    check_image(read_image(path))
    check_mask(read_mask(path))
    content_hash(path)


def dicom(path: Path) -> None:
    """The same, of a DICOM folder."""
    from discometry.io.images import check_image, read_image
    from discometry.io.study_input import content_hash

    check_image(read_image(path))
    content_hash(path)


def gradings(path: Path) -> None:
    """A cohort with gradings: a folder laid out as SPIDER, or a table of one's own."""
    from discometry.io.spider import read_cohort

    for one in read_cohort(path).chosen(None).studies:
        if not all(file is None or file.exists() for file in (one.image, one.mask)):
            raise RuntimeError("a scan that is not there")


def studies(path: Path) -> None:
    """The studies that a table lists, whose names become those of folders."""
    from discometry.core.errors import OutputError
    from discometry.io.manifest import find_studies
    from discometry.io.results import check_output

    found = find_studies(path)
    lines = [str(item.error) for item in found.refused]
    if any("\n" in line or len(line) > 4000 for line in lines):
        raise RuntimeError("a refusal that nobody can read")
    for one in found.studies:
        try:
            check_output(path.parent, one.study)
        except OutputError as error:
            raise RuntimeError(f"a study that cannot have a folder: {error}") from error


def bundle(path: Path) -> None:
    """A bundle and every model of it, each of which answers once."""
    import numpy as np

    from discometry.io.bundle import read_bundle
    from discometry.networks.classifier import load_classifier
    from discometry.networks.engines import load_predictor
    from discometry.networks.shape_models import load_shape_model

    found = read_bundle(path)
    load_predictor(found.component("segmenter"))
    coder = load_shape_model(found.component("autoencoder"))
    coder.plausibility(np.zeros((1, coder.latents)))
    classifier = load_classifier(found.component("classifier"))
    with np.errstate(all="ignore"):
        classifier.probabilities(np.full((2, len(classifier.features)), 1.0))


def study(path: Path) -> None:
    """A result folder."""
    from discometry.io.results import read_study

    read_study(path)


def report(path: Path) -> None:
    """The page of a result folder."""
    from discometry.io.results import read_study
    from discometry.report.page import render_report

    page = render_report(read_study(path))
    if "<script>alert(1)" in page or "\n49\n" in page:
        raise RuntimeError("the page holds what was to be text")


def trap(path: Path) -> None:
    """What must not happen, to see that it is noticed."""
    import ctypes
    import pickle

    from discometry.core.errors import InputError

    if path.name == "refused":
        raise InputError("a", expected="b", action="c")
    if path.name == "unclear":
        raise InputError("a", expected="", action="c")
    if path.name == "segfault":
        ctypes.string_at(0)
    if path.name == "memory":
        bytearray(1 << 40)
    if path.name == "write":
        path.write_text("x")
    if path.name == "pickle":
        pickle.loads(pickle.dumps(Path("x")))
    if path.name == "shell":
        os.system("true")
    if path.name == "noise":
        sys.stderr.write("x")
    while path.name == "loop":
        pass


READERS: dict[str, Callable[[Path], None]] = {
    each.__name__: each for each in (image, dicom, gradings, studies, bundle, study, report, trap)
}
_LOADED = {
    "image": ("SimpleITK", "discometry.io.results"),
    "dicom": ("SimpleITK", "discometry.io.results"),
    "gradings": ("SimpleITK", "discometry.io.spider"),
    "studies": ("SimpleITK", "pyarrow.parquet", "discometry.io.manifest", "discometry.io.results"),
    "bundle": ("torch", "monai.networks.nets.unet", "discometry.networks.shape_models"),
    "study": ("SimpleITK", "discometry.io.results"),
    "report": ("SimpleITK", "discometry.report.page", "contourpy", "PIL.Image"),
    "trap": (),
}


def _watch(allowed: Path) -> list[str]:
    """List what Python is asked to write outside a folder, to run or to unpickle."""
    seen: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen" and _UNPACKING in list(arguments[1]):
            return
        if event in _FORBIDDEN:
            seen.append(f"{event} {arguments!r}")
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            path = Path(os.fsdecode(arguments[0])) if isinstance(arguments[0], str | bytes) else allowed
            if not path.absolute().is_relative_to(allowed):
                seen.append(f"wrote {path}")

    sys.addaudithook(hook)
    return seen


def _outcome(reader: Callable[[Path], None], path: Path) -> tuple[str, str]:
    try:
        reader(path)
    except DiscometryError as error:
        line = str(error)
        clear = "\n" not in line and len(line) < 4000 and all((error.found, error.expected, error.action))
        return ("refused" if clear else "unclear", line[:4000])
    except BaseException as error:
        import traceback

        return "crash", f"{type(error).__name__}: {error}"[:500] + "\n" + traceback.format_exc(limit=-6)
    return "result", ""


def main(name: str) -> None:
    """Answer cases of one reader until standard input ends."""
    asked, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    for module in _LOADED[name]:
        __import__(module)
    warnings.simplefilter("error")
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + SPARE_BYTES, size + SPARE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    allowed = Path(os.environ["TMPDIR"])
    seen = _watch(allowed)
    answers.write("ready\n")
    answers.flush()
    for line in asked:
        seen.clear()
        outcome, text = _outcome(READERS[name], Path(json.loads(line)))
        if seen:
            outcome, text = "reached out", "; ".join(seen)
        answers.write(json.dumps([outcome, text]) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1])

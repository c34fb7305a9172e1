"""The page: whole, offline, harmless, readable, the same for the same folder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from made_up_study import (
    change_table,
    keep_columns,
    make_image,
    make_labels,
    make_manifest,
    make_table,
)
from scipy.special import expit

from discometry.core.errors import InputError, OutputError
from discometry.core.records import (
    CUBE_SPACING_MM,
    Disc,
    DiscResult,
    Encoding,
    Geometry,
    Intensity,
    Lordosis,
    Spine,
    StudyResult,
)
from discometry.core.volume import Grid, Volume
from discometry.io.results import write_study
from discometry.report.page import REPORT_NAME, render_report, write_report
from discometry.report.planes import find_regions

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Takes a page apart and complains of tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.cells: list[list[str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts[-1] += data
        elif "style" not in self.open:
            self.words.append(data)
            if "td" in self.open or "th" in self.open:
                self.cells[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def row(self, first: str) -> list[str]:
        return next(cells for cells in self.cells if cells[0].strip() == first)


def finished_folder(out: Path, *, study: str = "phantom-1", image: bool = True, n_discs: int = 5) -> Path:
    """Write a result folder through io, without a report."""
    labels = make_labels(n_discs)
    cube = Volume(Grid.from_spacing((64, 64, 64), CUBE_SPACING_MM), np.zeros((64, 64, 64), dtype=bool))
    rows = make_table(labels, study).rows
    results = []
    for region, row in zip(find_regions(labels), rows, strict=True):
        flags = tuple(row["flags"].split())
        values = {name: row[name] for name in Geometry.names()}
        geometry = Geometry.of(values, dict.fromkeys(values, 0.26))
        encoding = Encoding((0.1, -0.2, 1.3, 0.4), 0.91)
        disc = Disc(region.label, region.level, region.mask, cube, flags)
        scores = {"height_middle_mm": -1.26, "wedge_deg": 2.34, "height_dabbs_mm": -1.97}
        signal = Intensity(signal_over_vertebrae=0.5) if image else Intensity()
        shares = {"level_place": 0.25, "height_mean_mm": -1.5, "width_ap_mm": 0.0}
        result = DiscResult(disc, geometry, encoding, expit(-2.0 - 1.25), flags, scores, signal, shares)
        results.append(result)
    spine = Spine(labels, tuple(result.disc for result in results))
    picture = make_image(labels) if image else None
    curve = Lordosis("L1/L2", "L5/S1", 43.21, 0.44)
    result = StudyResult(study, picture, spine, tuple(results), lordosis=curve)
    return write_study(result, out, make_manifest(study))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = finished_folder(tmp_path_factory.mktemp("out"))
    write_report(made)
    return made


@pytest.fixture(scope="module")
def text(folder):
    return (folder / REPORT_NAME).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_page_is_small_and_the_only_new_file(folder):
    assert (folder / REPORT_NAME).stat().st_size < 1_000_000
    names = {path.name for path in folder.iterdir()}
    assert names == {"study.json", "discs.csv", "discs.nii.gz", "image.nii.gz", "meshes", REPORT_NAME}


def test_same_folder_gives_the_same_bytes(folder, text):
    write_report(folder)
    assert (folder / REPORT_NAME).read_text(encoding="utf-8") == text


def test_nothing_comes_from_elsewhere(page, text, folder):
    for tag, attrs in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            address = attrs.get(name, "")
            if tag == "img":
                assert not address or address.startswith("data:image/")
            elif address:
                assert (folder / unquote(address)).is_file()
    drawn = [attrs["src"].removeprefix("data:image/svg+xml;base64,") for attrs in page.all("img")]
    drawings = [b64decode(packed, validate=True).decode() for packed in drawn]
    assert all(set(re.findall(r'href="(?!#|data:image/webp;)', one)) == set() for one in drawings)
    whole = "\n".join((text, *drawings)).replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert not re.search(r"(https?:)?//[a-z]+\.|url\(|@import|\bfetch\(|XMLHttpRequest|WebSocket", whole)
    policy = next(attrs for attrs in page.all("meta") if attrs.get("http-equiv"))
    assert policy["content"].startswith("default-src 'none'")


def test_every_disc_stands_in_tables_pictures_and_scene(page):
    scene = json.loads(page.scripts[0])
    for level in ("L1/L2", "L2/L3", "L3/L4", "L4/L5", "L5/S1"):
        assert sum(cells[0].strip() == level for cells in page.cells) == 3
        assert sum(level in attrs["alt"] for attrs in page.all("img")) == 4
        assert level in [disc["level"] for disc in scene["discs"]]
    first = [cells[0].strip() for cells in page.cells]
    assert first.index("L1/L2") < first.index("L5/S1")


def test_numbers_are_rounded_and_carry_units(page):
    header = [" ".join(cell.split()) for cell in page.cells[0]]
    assert header[:4] == ["Disc", "Mean height mm", "AP width mm", "Lateral width mm"]
    assert header[-2:] == ["Narrowing %", "Flags"]
    row = page.row("L1/L2")
    assert row[1:4] == ["8.0 ± 0.3", "32.0 ± 0.3", "44.0 ± 0.3"]
    assert row[8:] == ["12\u202f346 ± 0.3", "4", "none"]


def test_missing_value_is_a_dash_with_its_reason(page):
    assert page.row("L5/S1")[3] == "–missing: the image ends before the disc does"
    assert "Lateral width of L5/S1: the image ends before the disc does." in page.text


def test_flags_are_told_in_words_quality_first(page):
    text = page.text
    assert text.index("Cut off L5/S1") < text.index("Level not certain L4/L5, L5/S1")
    assert "counted from the lowest disc" in text
    assert page.row("L5/S1")[-1].split() == ["Cut", "off", "Level", "not", "certain"]


def test_what_to_check_first_stands_above_all_else(text):
    titles = re.findall(r"<h2[^>]*>([^<]*)</h2>", text)
    assert titles[0] == "Check first"
    assert titles.index("Why this probability") == titles.index("Measures") + 1


def test_page_says_what_it_is_not(page):
    assert page.text.count("Not a medical device") == 2
    assert "starter model" in page.text


def test_manifest_is_listed_whole(page):
    rows = {cells[0]: cells[1] for cells in page.cells if len(cells) == 2}
    assert rows["input_sha256"] == "ab" * 32
    assert rows["versions.discometry"] == "0.1.0"
    assert rows["timings_s.segment"] == "21.3"
    assert (rows["options.mask"], rows["options.series"], rows["flags"]) == ("no", "none", "none")


def test_standard_errors_z_scores_and_lordosis_are_shown(page):
    assert any(cell.strip() == "8.0 ± 0.3" for cell in page.row("L3/L4"))
    scores = [cells for cells in page.cells if "Middle height" in " ".join(cells)]
    assert len(scores) == 2
    assert any("−1.3" in cell for cells in page.cells for cell in cells)
    cells = next(cells for cells in page.cells if cells[0].strip() == "L1/L2" and "−1.3" in cells)
    shown = [cell for cell in cells[1:] if not cell.startswith("–missing")]
    assert shown == ["high 2.3", "−1.3", "low −2.0"], "2 or more is marked by a word"
    assert "L1/L2 to L5/S1: 43.2 ± 0.4°" in page.text
    assert "not healthy" in page.text


def test_each_probability_is_told_in_words_and_by_its_shares(page):
    text = page.text
    assert "imitates how the radiologist of the SPIDER data set would grade" in text
    assert "starts at −2.00 for a disc that is average in everything (12 %)" in text
    assert text.count("Of 100 discs with this answer, about 4 would be graded as narrowed.") == 5
    told = "L4/L5 4 % very probably not narrowed Of 100 discs with this answer, about 4 would be graded as "
    told += "narrowed. Mean height 8.0 mm−1.50 Level L4/L5+0.25 AP width 32.0 mm0.00 All together−1.25"
    assert told in text
    beams = [attrs for attrs in page.all("i") if "width" in attrs.get("style", "")]
    assert [(attrs["class"], attrs["style"]) for attrs in beams] == [
        ("against", "width:50.0%"),
        ("for", "width:8.35%"),
        ("none", "width:0.0%"),
    ] * 5


def test_shares_are_no_measures(page):
    assert not re.search(r"shap_|Shap\b", page.text)


def test_signal_has_titles_and_reasons(page, tmp_path):
    assert "Signal over bone marrow" in page.text
    levels = "L1/L2, L2/L3, L3/L4, L4/L5, L5/S1"
    assert f"Signal over dural sac of {levels}: no canal is labelled near it" in page.text
    bare = Page(write_report(finished_folder(tmp_path, image=False, n_discs=1)).read_text(encoding="utf-8"))
    titles = "Signal over bone marrow, Signal over dural sac, Signal, middle over edges"
    assert f"{titles} of L5/S1: no image was given." in bare.text


def test_a_bundle_of_ones_own_imitates_its_own_readers(make_study):
    study = make_study(n_discs=1)
    table = change_table(study.discs, shap_wedge_deg=0.5)
    page = Page(render_report(replace(study, discs=table, manifest=make_manifest("x", bundle="mine"))))
    assert "imitates how the readers of its training discs would grade" in page.text


def test_without_shares_there_is_no_section_of_reasons(make_study):
    assert "Why this probability" not in Page(render_report(make_study(n_discs=1))).text


def test_page_is_accessible(page):
    assert page.all("html") == [{"lang": "en"}]
    assert all(attrs["alt"] for attrs in page.all("img"))
    assert all(attrs.get("scope") in ("col", "row") for attrs in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) == 4
    names = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(set(names)) == len(names)
    for _, attrs in page.tags:
        assert attrs.get("aria-labelledby", names[0]) in names
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_hostile_names_stay_words(make_study):
    bad = "<script>alert(1)</script>\"'&"
    study = make_study(n_discs=2)
    manifest = make_manifest(bad, input=bad, bundle=bad, options={bad: bad}, flags=(bad,))
    table = change_table(study.discs, flags=["</td><img/src=x/onerror=alert(1)>", "b"])
    text = render_report(replace(study, manifest=manifest, discs=table))
    page = Page(text)
    assert bad in page.text
    assert len(page.all("script")) == 2
    assert all(attrs["src"].startswith("data:") for attrs in page.all("img"))
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    assert "<script>alert" not in text


def test_mask_without_an_image(tmp_path):
    folder = finished_folder(tmp_path, image=False)
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "from a mask without an image" in page.text
    assert "L1/L2 down to L5/S1" in page.text
    assert "image.nii.gz" not in page.text
    assert len(page.all("img")) == 2 + 5 + 1


def test_single_disc_without_meshes_further_measures_or_bundle(make_study):
    study = make_study(n_discs=1)
    table = keep_columns(
        study.discs, "study", "label", "level", "flags", "height_mean_mm", "narrowing_probability"
    )
    manifest = make_manifest("one", bundle=None, bundle_sha256=None)
    page = Page(render_report(replace(study, discs=table, meshes={}, manifest=manifest)))
    assert "1 disc: L5/S1" in page.text
    assert "a trained model" in page.text
    assert not page.scripts
    assert not [attrs for attrs in page.all("div") if attrs.get("id") == "view3d"]
    assert "Further measures" not in page.text


def test_no_flags_and_no_probability(make_study):
    study = make_study(n_discs=1)
    names = [name for name in study.discs.columns if name != "narrowing_probability"]
    table = change_table(keep_columns(study.discs, *names), flags="", width_lateral_mm=40.0)
    page = Page(render_report(replace(study, discs=table, manifest=make_manifest("x", bundle="mine"))))
    assert "No flag was raised." in page.text
    assert "probability in per cent" not in page.text
    assert "marks a value that is missing" not in page.text


def test_other_bundle_is_named(make_study):
    page = Page(render_report(replace(make_study(n_discs=1), manifest=make_manifest("x", bundle="mine"))))
    assert "the model bundle “mine”" in page.text


def test_standard_errors_and_strange_cells(make_study):
    study = make_study(n_discs=2)
    table = change_table(study.discs, height_mean_mm_se=[0.21, float("nan")], signal_ratio=[None, "?"])
    page = Page(render_report(replace(study, discs=table)))
    assert (page.row("L5/S1")[1], page.row("L4/L5")[1]) == ("8.0 ± 0.2", "8.0")
    assert "Signal ratio of L4/L5: the mask does not determine it." in page.text
    assert "Signal ratio of L5/S1: the image ends before the disc does." in page.text


def test_flags_of_the_study_come_first_among_their_kind(make_study):
    study = make_study(n_discs=2)
    page = Page(render_report(replace(study, manifest=make_manifest("x", flags=("thick_slices",)))))
    assert page.text.index("Thick slices whole study") < page.text.index("Cut off L5/S1")


def test_folder_that_is_no_result(tmp_path):
    with pytest.raises(InputError, match="not a result folder"):
        write_report(tmp_path)


def test_page_that_cannot_be_put_in_place_leaves_nothing(tmp_path):
    folder = finished_folder(tmp_path, image=False, n_discs=1)
    (folder / REPORT_NAME / "in the way").mkdir(parents=True)
    before = sorted(folder.rglob("*"))
    with pytest.raises(OutputError, match=r"report\.html"):
        write_report(folder)
    assert sorted(folder.rglob("*")) == before


def test_report_loads_no_networks_and_no_global_plotting(folder):
    code = (
        "import sys; from pathlib import Path; from discometry.report.page import write_report;"
        f"write_report(Path({str(folder)!r}));"
        "print(sorted({'torch', 'monai', 'matplotlib.pyplot', 'discometry.stages'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_in_a_browser_the_discs_turn_and_the_console_is_silent(folder, chromium):
    dom, console = chromium(folder / REPORT_NAME)
    assert console == []
    shown = Page(dom)
    assert [attrs for attrs in shown.all("div") if attrs.get("class") == "view3d live"]
    assert names_in_space(shown) == ["chip"] * 5 + ["compass"] * 6
    assert "hidden" not in next(attrs for attrs in shown.all("div") if attrs.get("class") == "buttons")


def test_the_first_picture_waits_for_no_frame(chromium, text, tmp_path):
    frozen = tmp_path / "frozen.html"
    frozen.write_text(
        text.replace("<head>", "<head><script>window.requestAnimationFrame = () => 0</script>"), "utf-8"
    )
    dom, console = chromium(frozen)
    assert console == []
    assert "window.requestAnimationFrame = () => 0" in dom
    assert names_in_space(Page(dom)) == ["chip"] * 5 + ["compass"] * 6


def test_a_table_wider_than_the_window_does_not_widen_the_page(chromium, text, tmp_path):
    assert 'class="unseen"' in text  # what is read aloud, but not shown, leaked out of its table once
    asked = tmp_path / "asked.html"
    script = (
        "<script>addEventListener('load', () => {"
        "const page = document.documentElement, widest = Math.max("
        "...[...document.querySelectorAll('table')].map(one => one.scrollWidth));"
        "page.dataset.widths = [page.clientWidth, page.scrollWidth, widest].join(' ')})</script>"
    )
    asked.write_text(text.replace("</body>", script + "</body>"), "utf-8")
    dom, _ = chromium(asked)
    window, page, table = map(int, dom.split('data-widths="')[1].split('"')[0].split())
    assert page <= window < table


def names_in_space(page):
    return [attrs["class"] for attrs in page.all("span") if "translate" in attrs.get("style", "")]


def test_a_browser_console_speaks_when_something_is_wrong(folder, chromium, text, tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text(text.replace('id="scene"', 'id="elsewhere"'), encoding="utf-8")
    assert chromium(broken)[1]

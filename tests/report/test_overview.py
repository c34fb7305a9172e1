"""The overview of a cohort: outliers first, every study a link, whatever names and versions there are."""

from __future__ import annotations

import json
import re
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_up_study import make_labels
from PIL import Image

from discometry.core.errors import InputError
from discometry.io.results import StudyFiles, read_study
from discometry.report.overview import OUTLIER_COLUMNS, deviations, write_overview
from discometry.report.page import render_report, write_assets
from discometry.report.thumbnail import draw_thumbnail
from discometry.report.wording import MAIN_COLUMNS

OLD = Path(__file__).parents[1] / "old_results" / "version_1" / "spine"


def discs(n_studies: int = 12, *, outlier: str = "s7") -> pd.DataFrame:
    """Two discs a study; one study has one disc of twice the height."""
    rng = np.random.default_rng(1)
    rows = [
        {
            "study": f"s{n}",
            "label": label,
            "level": level,
            "flags": "",
            "study_flags": "",
            "lordosis_deg": 40.0 + n,
        }
        | {name: rng.normal(10, 1) for name in MAIN_COLUMNS}
        | {"narrowing_probability": rng.random() / 2}
        for n in range(n_studies)
        for label, level in ((201, "L5/S1"), (202, "L4/L5"))
    ]
    table = pd.DataFrame(rows)
    table.loc[(table["study"] == outlier) & (table["label"] == 202), "height_mean_mm"] = 30.0
    return table


def write(out: Path, table: pd.DataFrame, failures: str = "") -> str:
    table.to_parquet(out / "cohort.parquet")
    (out / "failures.csv").write_text("study,input,stage,error,what_to_do,attempts\n" + failures)
    return write_overview(out).read_text()


def listed(page: str) -> list[list[Any]]:
    found = re.search(r'<script type="application/json" id="studies">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    rows: list[list[Any]] = json.loads(found[1])
    return rows


def test_outliers_stand_first_and_say_why(tmp_path: Path) -> None:
    rows = listed(write(tmp_path, discs()))
    assert len(rows) == 12
    assert rows[0][0] == "s7"
    assert rows[0][4] == "L4/L5 mean height high"
    assert [row[3] for row in rows] == sorted((row[3] for row in rows), reverse=True)


def test_deviations_are_robust_standard_deviations() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({name: rng.normal(5, 2, 4000) for name in MAIN_COLUMNS}).assign(level="L4/L5")
    table.loc[0, "wedge_deg"] = np.nan
    scores = deviations(table)
    assert np.nanstd(scores, axis=0) == pytest.approx(np.ones(len(OUTLIER_COLUMNS)), abs=0.05)
    assert np.isnan(scores[0, OUTLIER_COLUMNS.index("wedge_deg")])
    assert np.isnan(deviations(table.head(7))).all()
    assert np.isnan(deviations(table.assign(wedge_deg=3.0))[:, OUTLIER_COLUMNS.index("wedge_deg")]).all()


def test_links_lead_to_what_is_there(tmp_path: Path) -> None:
    table = discs(2)
    table["study"] = table["study"].replace({"s0": 'odd "name" & <b>#1'})
    (tmp_path / 'odd "name" & <b>#1').mkdir()
    (tmp_path / 'odd "name" & <b>#1' / "report.html").touch()
    page = write(tmp_path, table)
    rows = {row[0]: row for row in listed(page)}
    assert rows['odd "name" & <b>#1'][1:3] == ["odd%20%22name%22%20%26%20%3Cb%3E%231/report.html", ""]
    assert rows["s1"][1:3] == ["", ""]
    assert "<b>#1" not in page


def test_failures_are_escaped_and_counted(tmp_path: Path) -> None:
    page = write(tmp_path, discs(), 'x,x.mha,read,"<script>alert(1)</script>, no",look,1\n')
    assert "12 studies, 24 discs, 1 failed" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;, no" in page


def test_the_page_loads_nothing_from_elsewhere_and_is_the_same_each_time(tmp_path: Path) -> None:
    page = write(tmp_path, discs())
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    assert page == write_overview(tmp_path).read_text()


def test_no_discs_at_all(tmp_path: Path) -> None:
    page = write(tmp_path, discs().head(0), "x,x.mha,read,no discs,look,1\n")
    assert "0 studies, 0 discs, 1 failed" in page
    assert listed(page) == []
    assert "Distributions" not in page


def test_tables_of_an_older_cohort_lack_columns(tmp_path: Path) -> None:
    page = write(tmp_path, discs().drop(columns=["lordosis_deg", "wedge_deg", "study_flags"]))
    assert len(listed(page)) == 12
    assert "Wedge angle" not in page


@pytest.mark.parametrize("text", [None, "no table"])
def test_tables_that_cannot_be_read(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "cohort.parquet").write_text(text)
    with pytest.raises(InputError, match="no tables of a cohort"):
        write_overview(tmp_path)


def test_a_result_of_the_first_format_version_has_a_report_and_a_thumbnail(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "spine")
    study = read_study(tmp_path / "spine")
    assert study.manifest.format_version == 1
    assert "L4/L5" in render_report(study, assets="../assets")
    assert Image.open(BytesIO(draw_thumbnail(study))).height == 176


@pytest.mark.parametrize("image", [True, False])
def test_a_thumbnail_is_small_and_shows_every_disc(make_study: Any, image: bool) -> None:
    from discometry.report.figures import colour_of_label

    study: StudyFiles = make_study(image=image, n_discs=3)
    data = draw_thumbnail(study)
    assert len(data) < 10_000
    shown = np.asarray(Image.open(BytesIO(data)).convert("RGB"), dtype=float)
    for label in np.unique(make_labels(3).array)[1:]:
        colour = np.array([int(colour_of_label(int(label))[k : k + 2], 16) for k in (1, 3, 5)])
        assert np.abs(shown - colour).sum(axis=-1).min() < 260, label


def test_shared_assets_are_those_of_a_page_by_itself(make_study: Any, tmp_path: Path) -> None:
    write_assets(tmp_path)
    alone, shared = (render_report(make_study(n_discs=1), assets=place) for place in ("", "../assets"))
    for name in ("report.css", "view3d.js"):
        text = (tmp_path / name).read_text()
        assert text in alone
        assert text not in shared
        assert f"../assets/{name}" in shared

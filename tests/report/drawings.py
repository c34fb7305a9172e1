"""Reads the drawings of a report: what is outlined where, and the image below."""

from __future__ import annotations

import re
from base64 import b64decode
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from discometry.report.figures import Picture

SVG = "{http://www.w3.org/2000/svg}"
Array = np.ndarray[Any, Any]


def outline(picture: Picture, label: int) -> list[Array]:
    """Give the rings around a disc, each Nx2 in pixels of the page; none where it is not drawn."""
    root = ElementTree.fromstring(picture.svg)
    (path,) = root.findall(f".//{SVG}path[@id='disc-{label}']") or [None]
    found = [] if path is None else re.findall(r"[^MZ]+", path.attrib["d"])
    return [np.array([pair.split(",") for pair in ring.split()], dtype=float) for ring in found]


def colours(picture: Picture, label: int) -> set[str]:
    """Give the colours of a disc's filling and outlines."""
    uses = ElementTree.fromstring(picture.svg).findall(f".//{SVG}use[@href='#disc-{label}']")
    return {use.attrib[name] for use in uses for name in ("fill", "stroke") if name in use.attrib}


def texts(picture: Picture) -> dict[str, tuple[float, float]]:
    """Give every text with its place."""
    found = ElementTree.fromstring(picture.svg).iter(f"{SVG}text")
    return {str(one.text): (float(one.attrib["x"]), float(one.attrib["y"])) for one in found}


def image_of(picture: Picture) -> Array:
    """Give the image that lies below a drawing, rows x columns x 3."""
    image = ElementTree.fromstring(picture.svg).find(f"{SVG}image")
    assert image is not None
    packed = image.attrib["href"].removeprefix("data:image/webp;base64,")
    return np.asarray(Image.open(BytesIO(b64decode(packed))).convert("RGB")).astype(int)


def area(rings: list[Array]) -> float:
    """Give what the rings hold, holes left out, in square pixels."""
    return abs(
        sum(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2 for x, y in (r.T for r in rings))
    )

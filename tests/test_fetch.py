"""Fetching SPIDER, from a local server of small files of the same form that can misbehave."""

from __future__ import annotations

import contextlib
import hashlib
import io
import random
import shutil
import socket
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import requests

from discometry.cli import main
from discometry.core.errors import DiscometryError, FetchError, OutputError
from discometry.fetch import SPIDER_FILES, fetch_spider

IMAGE = random.Random(0).randbytes(600_000)


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


class Server:
    """Four files as Zenodo serves them, a log of what was asked and sent, and the faults to show."""

    def __init__(self) -> None:
        self.files = {
            "overview.csv": b"new_file_name,subset\n1_t1,training\n",
            "radiological_gradings.csv": b"Patient,IVD label,Disc narrowing\n1,1,0\n",
            "masks.zip": zipped(
                ("masks/", b""), ("masks/1_t1.mha", b"mask 1"), ("masks/2_t2.mha", b"mask 2")
            ),
            "images.zip": zipped(
                ("images/", b""), ("images/1_t1.mha", IMAGE), ("images/2_t2.mha", b"image 2")
            ),
        }
        self.checksums = {name: hashlib.md5(content).hexdigest() for name, content in self.files.items()}
        self.asked: list[tuple[str, str | None]] = []
        """Address and Range of every request."""
        self.sent = 0
        """Bytes of all answers."""
        self.cuts: list[int] = []
        """After how many bytes the next answers for images.zip break off."""
        self.down = False
        """Every further request for images.zip is answered with 503."""
        self.knows_ranges = True
        self.address = ""

    def serve(self, name: str, content: bytes) -> None:
        """Serve another file, whose checksum is right."""
        self.files[name] = content
        self.checksums[name] = hashlib.md5(content).hexdigest()

    def ranges(self, name: str = "images.zip") -> list[str | None]:
        """The Range of every request for a file."""
        return [asked for path, asked in self.asked if urlsplit(path).path == f"/record/{name}"]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers["Range"]
        self.asked.append((request.path, asked))
        name = urlsplit(request.path).path.removeprefix("/record/")
        large = name == "images.zip"
        if name not in self.files or (large and self.down):
            return request.send_error(503 if self.down else 404)
        content, start = self.files[name], 0
        if asked and self.knows_ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            return request.end_headers()
        request.send_response(206 if asked and self.knows_ranges else 200)
        request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        body = content[start:]
        if large and self.cuts:
            body = body[: self.cuts.pop(0)]
        self.sent += len(body)
        request.wfile.write(body)
        return None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("discometry.io.download._PAUSE_S", 0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    served = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        served.address = f"http://127.0.0.1:{listening.server_port}/record"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        listening.shutdown()
        thread.join()


def fetch(server: Server, out: Path, **options: bool) -> Path:
    return fetch_spider(out, base_address=server.address, files=server.checksums, **options)


def visible(folder: Path) -> set[str]:
    """Every file in a folder, but for what is hidden."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {path.as_posix() for path in paths if not path.name.startswith(".")}


TABLES = {"overview.csv", "radiological_gradings.csv"}
MASKS = {"masks/1_t1.mha", "masks/2_t2.mha"}
IMAGES = {"images/1_t1.mha", "images/2_t2.mha"}


def closed_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


# -- what should come ------------------------------------------------------------------------------------


def test_everything_comes_whole_and_archives_go(server: Server, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    out = fetch_spider(
        tmp_path / "a" / "spider",
        base_address=server.address + "/",
        files=server.checksums,
        progress=lambda *step: told.append(step),
    )
    assert visible(out) == TABLES | MASKS | IMAGES
    assert (out / "images/1_t1.mha").read_bytes() == IMAGE
    assert (out / "overview.csv").read_bytes() == server.files["overview.csv"]
    assert {path for path, _ in server.asked} == {f"/record/{name}?download=1" for name in server.files}
    size = len(server.files["images.zip"])
    assert [done for name, done, _ in told if name == "images.zip"][-1] == size
    assert {total for name, _, total in told if name == "images.zip"} == {size}
    assert told[-1] == ("unpack images.zip", len(IMAGE) + 7, len(IMAGE) + 7)


def test_second_call_fetches_nothing(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    server.asked.clear()
    fetch(server, tmp_path)
    assert server.asked == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("keep", [True, False])
def test_what_was_lost_or_cut_comes_back(keep: bool, server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path, keep_archives=keep)
    assert (tmp_path / "images.zip").exists() == keep
    (tmp_path / "images/1_t1.mha").write_bytes(IMAGE[:1000])
    (tmp_path / "overview.csv").unlink()
    untouched = (tmp_path / "images/2_t2.mha").stat().st_mtime_ns
    server.asked.clear()
    fetch(server, tmp_path, keep_archives=keep)
    assert len(server.ranges("images.zip")) == (0 if keep else 1)
    assert len(server.asked) == (1 if keep else 2)
    assert (tmp_path / "images/1_t1.mha").read_bytes() == IMAGE
    assert (tmp_path / "images/2_t2.mha").stat().st_mtime_ns == untouched
    assert (tmp_path / "overview.csv").read_bytes() == server.files["overview.csv"]


def test_a_new_version_replaces_the_old(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    server.serve("masks.zip", zipped(("masks/1_t1.mha", b"mask A"), ("masks/2_t2.mha", b"mask B")))
    fetch(server, tmp_path)
    assert (tmp_path / "masks/1_t1.mha").read_bytes() == b"mask A"


def test_files_at_the_top_and_notes_of_macos(server: Server, tmp_path: Path) -> None:
    server.serve(
        "masks.zip",
        zipped(
            ("1_t1.mha", b"mask 1"),
            ("masks/2_t2.mha", b"mask 2"),
            ("__MACOSX/masks/._1_t1.mha", b"note"),
            ("masks/.DS_Store", b"note"),
        ),
    )
    fetch(server, tmp_path)
    assert visible(tmp_path) == TABLES | MASKS | IMAGES


# -- broken connections ----------------------------------------------------------------------------------


def end_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do as urllib3 before 2.0: take what has come for the whole when the connection breaks."""
    chunks = requests.Response.iter_content

    def iter_content(self: requests.Response, chunk_size: int) -> Iterator[bytes]:
        with contextlib.suppress(requests.exceptions.ChunkedEncodingError):
            yield from chunks(self, chunk_size)

    monkeypatch.setattr(requests.Response, "iter_content", iter_content)


@pytest.mark.parametrize("noticed", [True, False])
def test_broken_connection_goes_on_where_it_ended(
    noticed: bool, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not noticed:
        end_quietly(monkeypatch)
    server.cuts = [300_000]
    fetch(server, tmp_path)
    first, second = server.ranges()
    assert first is None
    assert second is not None
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= 300_000
    assert server.sent < 1.5 * sum(map(len, server.files.values()))
    assert (tmp_path / "images/1_t1.mha").read_bytes() == IMAGE


def test_many_breaks_are_endured_while_each_brings_something(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000] * 5
    fetch(server, tmp_path)
    assert len(server.ranges()) == 6
    assert (tmp_path / "images/1_t1.mha").read_bytes() == IMAGE


def test_next_call_goes_on_where_the_last_one_ended(server: Server, tmp_path: Path) -> None:
    server.cuts = [0, 300_000, 0, 0, 0, 0]
    with pytest.raises(FetchError, match=r"no connection to .*images.zip"):
        fetch(server, tmp_path)
    assert len(server.ranges()) == 6, "it must neither give up earlier nor try for ever"
    assert visible(tmp_path) == TABLES | MASKS
    server.asked.clear()
    fetch(server, tmp_path)
    (asked,) = server.ranges()
    assert asked is not None
    assert visible(tmp_path) == TABLES | MASKS | IMAGES
    assert (tmp_path / "images/1_t1.mha").read_bytes() == IMAGE


def test_file_that_had_come_whole_is_not_sent_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".images.zip.part").write_bytes(server.files["images.zip"])
    fetch(server, tmp_path)
    assert len(server.ranges()) == 1
    assert server.sent < len(server.files["images.zip"])
    assert (tmp_path / "images/1_t1.mha").read_bytes() == IMAGE


def test_part_that_is_too_long_is_started_over(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".images.zip.part").write_bytes(server.files["images.zip"] + b"more")
    fetch(server, tmp_path)
    assert server.ranges() == [f"bytes={len(server.files['images.zip']) + 4}-", None]
    assert (tmp_path / "images/1_t1.mha").read_bytes() == IMAGE


def test_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.knows_ranges = False
    server.cuts = [300_000]
    fetch(server, tmp_path)
    assert len(server.ranges()) == 2
    assert (tmp_path / "images/1_t1.mha").read_bytes() == IMAGE


def test_server_that_breaks_at_the_same_place_is_given_up(server: Server, tmp_path: Path) -> None:
    server.knows_ranges = False
    server.cuts = [300_000] * 100
    with pytest.raises(FetchError, match="breaks off"):
        fetch(server, tmp_path)
    assert len(server.ranges()) < 10


def test_server_that_is_down_is_asked_a_few_times(server: Server, tmp_path: Path) -> None:
    server.down = True
    with pytest.raises(FetchError, match="status 503"):
        fetch(server, tmp_path)
    assert 1 < len(server.ranges()) < 10
    server.down = False
    assert visible(fetch(server, tmp_path)) == TABLES | MASKS | IMAGES


# -- wrong files -----------------------------------------------------------------------------------------


def test_wrong_checksum_is_refused_and_deleted(server: Server, tmp_path: Path) -> None:
    right = server.files["masks.zip"]
    server.files["masks.zip"] = right[:-1] + b"!"
    with pytest.raises(FetchError, match=r"masks.zip.* wrong checksum .*" + server.checksums["masks.zip"]):
        fetch(server, tmp_path)
    assert {path.name for path in tmp_path.rglob("*")} == TABLES, "the wrong file must go, in part and whole"
    server.files["masks.zip"] = right
    assert visible(fetch(server, tmp_path)) == TABLES | MASKS | IMAGES


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


def bzip2(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_BZIP2
    return entry


@pytest.mark.parametrize(
    "entry",
    [
        "../escaped.mha",
        "images/../../escaped.mha",
        "images/..",
        "{absolute}/escaped.mha",
        "C:/escaped.mha",
        "images/C:escaped.mha",
        "images/deeper\\..\\..\\escaped.mha",
        "images/deeper/3.mha",
        "images//3.mha",
        "masks/3.mha",
        "other/",
        "images/.1_t1.mha",
        "1_t1.mha",
        link("images/3.mha"),
        bzip2("images/3.mha"),
    ],
    ids=lambda entry: entry if isinstance(entry, str) else entry.filename + str(entry.external_attr),
)
def test_archive_that_leads_elsewhere_is_refused_before_anything_is_unpacked(
    entry: str | zipfile.ZipInfo, server: Server, tmp_path: Path
) -> None:
    out = tmp_path / "in" / "spider"
    name = entry.format(absolute=tmp_path) if isinstance(entry, str) else entry
    server.serve("images.zip", zipped(("images/1_t1.mha", b"image 1"), (name, b"/etc/passwd")))
    with pytest.raises(FetchError, match=r"images.zip' holds "):
        fetch(server, out)
    assert visible(tmp_path) == {f"in/spider/{path}" for path in TABLES | MASKS | {"images.zip"}}
    assert not list(tmp_path.rglob("*escaped*"))


def no_zip(good: bytes) -> bytes:
    return b"<html>Sign in first</html>"


def cut(good: bytes) -> bytes:
    return good[: len(good) // 2]


def flipped(good: bytes) -> bytes:
    return good.replace(b"image 2", b"image 3", 1)


def encrypted(good: bytes) -> bytes:
    raw = bytearray(good)
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(raw)


def larger_than_listed(good: bytes) -> bytes:
    """An entry whose size in the list is less than what it unpacks to."""
    raw = bytearray(good)
    at = raw.rindex(b"PK\x01\x02") + 24
    raw[at : at + 4] = (3).to_bytes(4, "little")
    return bytes(raw)


def empty(good: bytes) -> bytes:
    return zipped(("images/", b""))


@pytest.mark.parametrize("spoil", [no_zip, cut, flipped, encrypted, larger_than_listed, empty])
def test_broken_archive_is_told_and_gives_no_half_file(
    spoil: Callable[[bytes], bytes], server: Server, tmp_path: Path
) -> None:
    good = server.files["images.zip"]
    server.serve("images.zip", spoil(good))
    with pytest.raises(FetchError, match=r"images.zip' (cannot be unpacked|is empty)"):
        fetch(server, tmp_path)
    assert not (tmp_path / "images/2_t2.mha").exists()
    assert list(tmp_path.glob("images/.*")) == []
    server.serve("images.zip", good)
    assert visible(fetch(server, tmp_path)) == TABLES | MASKS | IMAGES
    assert (tmp_path / "images/1_t1.mha").read_bytes() == IMAGE


# -- no room ---------------------------------------------------------------------------------------------


def leave(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free_bytes))


def test_short_disk_is_told_before_the_download(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(monkeypatch, 500_000)
    with pytest.raises(OutputError, match=r"images.zip.* takes 0.6 MB; .* has 0.5 MB left"):
        fetch(server, tmp_path)
    assert visible(tmp_path) == TABLES | MASKS
    assert not (tmp_path / ".images.zip.part").exists()


def test_short_disk_is_told_before_unpacking(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/1_t1.mha", bytes(5_000_000))
    server.serve("images.zip", buffer.getvalue())
    leave(monkeypatch, 1_000_000)
    with pytest.raises(OutputError, match=r"unpacking .*images.zip' takes 5.0 MB"):
        fetch(server, tmp_path)
    assert visible(tmp_path) == TABLES | MASKS | {"images.zip"}
    server.asked.clear()
    monkeypatch.undo()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert visible(fetch(server, tmp_path)) == TABLES | MASKS | {"images/1_t1.mha"}
    assert server.asked == [], "what had come is there still"


def test_disk_that_fills_up_is_told(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("discometry.fetch.download", full)
    with pytest.raises(OutputError, match="No space left on device"):
        fetch(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


# -- the command -----------------------------------------------------------------------------------------


@pytest.fixture
def command(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A call that fetches the small files."""
    for name, md5 in server.checksums.items():
        monkeypatch.setitem(SPIDER_FILES, name, md5)  # type: ignore[arg-type]
    return ["fetch", "spider", "--out", str(tmp_path / "spider"), "--base-address", server.address]


def test_command_fetches_and_says_where(
    command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--keep-archives"]) == 0
    printed = capfd.readouterr()
    assert printed.out == f"fetched: {tmp_path / 'spider'}\n"
    assert printed.err == ""
    assert visible(tmp_path / "spider") == TABLES | MASKS | IMAGES | {"masks.zip", "images.zip"}


def test_command_shows_a_bar_where_a_person_watches(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert main(command) == 0
    assert "images.zip" in capsys.readouterr().err


def offline(command: list[str], server: Server, out: Path) -> list[str]:
    return [*command[:-1], f"http://127.0.0.1:{closed_port()}/record"]


def not_found(command: list[str], server: Server, out: Path) -> list[str]:
    return [*command[:-1], server.address + "/elsewhere"]


def no_address(command: list[str], server: Server, out: Path) -> list[str]:
    return [*command[:-1], "elsewhere"]


def wrong_file(command: list[str], server: Server, out: Path) -> list[str]:
    server.files["overview.csv"] = b"something else"
    return command


def file_in_the_way(command: list[str], server: Server, out: Path) -> list[str]:
    out.write_text("no folder")
    return command


def folder_in_the_way(command: list[str], server: Server, out: Path) -> list[str]:
    (out / "overview.csv").mkdir(parents=True)
    return command


def file_in_the_way_of_images(command: list[str], server: Server, out: Path) -> list[str]:
    out.mkdir()
    (out / "images").write_text("no folder")
    return command


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (offline, "Connection refused"),
        (not_found, "status 404"),
        (no_address, "--base-address"),
        (wrong_file, "wrong checksum"),
        (file_in_the_way, "is a file"),
        (folder_in_the_way, "overview.csv"),
        (file_in_the_way_of_images, "images' is a file"),
    ],
)
def test_what_goes_wrong_is_one_line(
    make: Callable[[list[str], Server, Path], list[str]],
    word: str,
    command: list[str],
    server: Server,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(make(command, server, tmp_path / "spider")) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1, printed.err
    assert printed.err.startswith("discometry: ")
    assert word in printed.err
    assert "; expected " in printed.err


def test_without_pooch_the_extra_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DiscometryError, match=r"pip install 'discometry\[data\]'"):
        fetch(server, tmp_path / "spider")
    assert not (tmp_path / "spider").exists()


def test_only_spider_is_known(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["fetch", "nonsense"])
    assert end.value.code == 2


def test_fetching_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "import discometry.io.download as d\n"
        "d._PAUSE_S = 0\n"
        "from discometry.cli import main\n"
        f"call = ['fetch', 'spider', '--out', {str(tmp_path)!r}, '--base-address']\n"
        f"assert main([*call, 'http://127.0.0.1:{closed_port()}']) == 2\n"
        "heavy = {'torch', 'monai', 'pandas', 'SimpleITK', 'scipy', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1, "nothing but the error itself is told"

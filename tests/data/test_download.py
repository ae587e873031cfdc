"""Downloads from servers on loopback that break off, know no ranges, lie, or are not there."""

import hashlib
import io
import json
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from filelock import FileLock

from lsml.data.download import download
from lsml.data.synthetic import synthesize
from lsml.data.transfer import Expected, NetworkError, download_file, unpack_patches
from lsml.errors import DataError
from tests.processes import PATIENCE, environment, lsml, wait_until

RECORD = "/api/records/10463239"
REPOSITORY = "ibm-nasa-geospatial/Landslide4sense"
SPLITS = ("TrainData", "ValidData", "TestData")
PIECE = 16_384  # what arrives of a piece of this size is lost when the connection breaks in it
ANY = Expected(None, "", None, 10**9)


@dataclass
class Site:
    """What a server has and how it behaves.

    Attributes:
        files: content by path.
        ranges: whether it answers requests for a part.
        cuts: after how many bytes the next answers break off, one entry an answer.
        busy: how many of the next requests it turns away for 7 seconds.
        held: once it has sent so many bytes of an archive, it waits for `released`.
        etags: entity tag by path.
        asked: path and range of each request, in order.
        links: address of the next page by path.
        address: scheme, host and port, once it is served.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    busy: int = 0
    held: int | None = None
    released: threading.Event = field(default_factory=threading.Event)
    etags: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    address: str = ""

    def fetched(self) -> list[tuple[str, str | None]]:
        """The requests for archives and patches."""
        return [(path, part) for path, part in self.asked if path.endswith("/content") or "/resolve/" in path]


class Handler(BaseHTTPRequestHandler):
    """Serves `Site.files`, whole or in part."""

    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        site, asked = self.site, self.headers.get("Range")
        path = self.path if self.path in site.files else urlsplit(self.path).path
        site.asked.append((path, asked))
        if site.busy:
            site.busy -= 1
            self.send_response(503)
            self.send_header("Retry-After", "7")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = site.files.get(path)
        if content is None:
            self.send_error(404)
            return
        etag = site.etags.get(path)
        start = int(asked[6:-1]) if asked and site.ranges and self.headers.get("If-Range", etag) == etag else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if etag:
            self.send_header("ETag", etag)
        if path in site.links:
            self.send_header("Link", f'<{site.links[path]}>; rel="next"')
        self.end_headers()
        end = len(content)
        if site.cuts and path in dict(site.fetched()):
            end = min(end, start + site.cuts.pop(0))
        for place in range(start, end, 1 << 16):
            self.wfile.write(content[place : min(place + (1 << 16), end)])
            if site.held is not None and place >= site.held and path in dict(site.fetched()):
                site.released.wait(PATIENCE)
        if end < len(content):
            self.wfile.flush()
            self.close_connection = True


@pytest.fixture
def serve() -> Iterator[Callable[[Site], Site]]:
    """`serve(site)` starts a server on loopback and notes its address in the site."""
    servers = []

    def start(site: Site) -> Site:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Of", (Handler,), {"site": site}))
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that is killed
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        site.address = f"http://127.0.0.1:{server.server_port}"
        return site

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def noise(number: int, size: int = 300_000) -> bytes:
    """Bytes that no compression makes smaller."""
    return hashlib.shake_128(str(number).encode()).digest(size)


def zipped(members: Mapping[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return held.getvalue()


def archives() -> dict[str, bytes]:
    """The three archives, with two patches each; only the first has masks."""
    made = {}
    for order, split in enumerate(SPLITS):
        members = {f"{split}/img/image_{k}.h5": noise(10 * order + k) for k in (1, 2)}
        if split == "TrainData":
            members |= {f"{split}/mask/mask_{k}.h5": noise(100 + k, 2_000) for k in (1, 2)}
        made[f"{split}.zip"] = zipped({f"{split}/": b"", f"{split}/.DS_Store": b"a file manager's own"} | members)
    return made


def zenodo(made: Mapping[str, bytes], **changes: object) -> Site:
    """A site like Zenodo's record, with sizes and MD5 of the archives."""
    entries = [
        {"key": name, "size": len(content), "checksum": f"md5:{hashlib.md5(content).hexdigest()}"} | changes
        for name, content in made.items()
    ]
    files = {f"{RECORD}/files/{name}/content": content for name, content in made.items()}
    return Site(files | {RECORD: json.dumps({"files": entries}).encode()}, etags=dict.fromkeys(files, '"one"'))


def bring(folder: Path, site: Site, source: str = "zenodo"):
    return download(folder, source=source, address=site.address, progress=lambda *_: None)  # type: ignore[arg-type]


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def files_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_download_is_whole_recorded_and_verified_when_repeated(tmp_path: Path, serve) -> None:
    """Three splits appear with their checksums beside them; the second time nothing is fetched, all is compared."""
    site = serve(zenodo(archives()))
    done = bring(tmp_path / "data", site)
    assert (done.fetched, done.verified, done.published) == (3, 8, True)
    found = files_below(tmp_path / "data")
    record = json.loads(found.pop("checksums.json"))
    assert sorted(found) == [
        "TestData/img/image_1.h5",
        "TestData/img/image_2.h5",
        "TrainData/img/image_1.h5",
        "TrainData/img/image_2.h5",
        "TrainData/mask/mask_1.h5",
        "TrainData/mask/mask_2.h5",
        "ValidData/img/image_1.h5",
        "ValidData/img/image_2.h5",
    ]
    assert {name: hashlib.sha256(content).hexdigest() for name, content in found.items()} == {
        name: entry["sha256"] for name, entry in record["files"].items()
    }
    assert not (tmp_path / "data/.download").exists()
    site.asked.clear()
    again = bring(tmp_path / "data", site)
    assert (again.fetched, again.verified, site.asked) == (0, 8, [])

    damaged = tmp_path / "data/ValidData/img/image_2.h5"
    damaged.write_bytes(noise(99))
    assert f"file {damaged}: checksum differs" in refusal(lambda: bring(tmp_path / "data", site))
    shutil.rmtree(tmp_path / "data/ValidData")
    assert bring(tmp_path / "data", site).fetched == 1


def test_a_killed_download_goes_on_and_what_it_brings_can_be_used(tmp_path: Path, serve) -> None:
    """SIGKILL in the middle of an archive: the same command asks for the rest only, and the dataset is sound."""
    synthesize(tmp_path / "made", train=2, validation=2, test=2, seed=3)
    site = serve(zenodo({f"{s}.zip": zipped(files_below_split(tmp_path / "made", s)) for s in SPLITS}))
    site.held = 8 << 16
    command = [sys.executable, "-m", "lsml", "data", "download", "data", "--url", site.address]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    part = tmp_path / "data/.download/TrainData.zip.part"
    wait_until(lambda: part.exists() and part.stat().st_size > 400_000)
    process.kill()
    process.wait()
    site.released.set()
    arrived = part.stat().st_size
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".download"]

    site.held = None
    site.asked.clear()
    done = lsml(tmp_path, "data", "download", "data", "--url", site.address)
    assert done.returncode == 0, done.stderr
    assert "3 fetched, 12 files as in checksums.json" in done.stdout
    assert "licence" in done.stdout
    assert site.fetched()[0] == (f"{RECORD}/files/TrainData.zip/content", f"bytes={arrived}-")
    assert lsml(tmp_path, "data", "check", "data").returncode == 0


def files_below_split(folder: Path, split: str) -> dict[str, bytes]:
    return {f"{split}/{name}": content for name, content in files_below(folder / split).items()}


def test_an_interrupted_download_says_so_and_keeps_what_arrived(tmp_path: Path, serve) -> None:
    """SIGINT leaves with 130 and one line, at once, and the part stays."""
    site = serve(zenodo(archives()))
    site.held = 0
    command = [sys.executable, "-m", "lsml", "data", "download", "data", "--url", site.address]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    part = tmp_path / "data/.download/TrainData.zip.part"
    wait_until(lambda: part.exists() and part.stat().st_size > 0)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("lsml: interrupted by SIGINT")
    assert "Traceback" not in said
    assert part.stat().st_size > 0


def test_a_connection_that_breaks_is_taken_up_again_where_it_was(tmp_path: Path, serve) -> None:
    """Two breaks in one file of 900,000 bytes: three requests, each for what is missing."""
    content = noise(1, 900_000)
    site = serve(Site({"/a/content": content}, etags={"/a/content": '"x"'}, cuts=[20 * PIECE, 24 * PIECE]))
    seen: list[tuple[int, int | None]] = []
    pauses: list[float] = []
    download_file(
        requests.Session(), f"{site.address}/a/content", tmp_path / "a", ANY,
        lambda have, whole: seen.append((have, whole)), pause=pauses.append,
    )  # fmt: skip
    assert (tmp_path / "a").read_bytes() == content
    assert [part for _, part in site.asked] == [None, f"bytes={20 * PIECE}-", f"bytes={44 * PIECE}-"]
    assert seen[-1] == (900_000, 900_000)
    assert pauses == [1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_server_without_ranges_is_asked_for_all_again(tmp_path: Path, serve) -> None:
    """It answers the request for the rest with the whole file, which replaces the part."""
    content = noise(1, 900_000)
    site = serve(Site({"/a/content": content}, ranges=False, cuts=[30 * PIECE]))
    download_file(
        requests.Session(), f"{site.address}/a/content", tmp_path / "a", ANY, lambda *_: None, pause=lambda _: None
    )
    assert (tmp_path / "a").read_bytes() == content
    assert [part for _, part in site.asked] == [None, f"bytes={30 * PIECE}-"]


@pytest.mark.parametrize(("before", "after"), [('"one"', '"two"'), ('W/"one"', 'W/"two"')])
def test_a_file_that_changed_meanwhile_is_fetched_anew(tmp_path: Path, serve, before: str, after: str) -> None:
    """Halves of two files are never put together, whether the entity tag is a strong or a weak one."""
    old, new = noise(1, 600_000), noise(2, 600_000)
    site = serve(Site({"/a/content": old}, etags={"/a/content": before}, cuts=[200_000]))

    def change(_: float) -> None:
        site.files["/a/content"], site.etags["/a/content"] = new, after

    download_file(requests.Session(), f"{site.address}/a/content", tmp_path / "a", ANY, lambda *_: None, pause=change)
    assert (tmp_path / "a").read_bytes() == new


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"url": "http://elsewhere/a", "size": 600000}', None])
def test_a_part_that_nobody_can_vouch_for_is_not_gone_on_from(tmp_path: Path, serve, note: bytes | None) -> None:
    """Without a sound note beside it, or with the note of another address, the part is made anew."""
    content = noise(1, 600_000)
    site = serve(Site({"/a/content": content}))
    (tmp_path / "a.part").write_bytes(noise(7, 100_000))
    if note is not None:
        (tmp_path / "a.part.json").write_bytes(note)
    download_file(requests.Session(), f"{site.address}/a/content", tmp_path / "a", ANY, lambda *_: None)
    assert (tmp_path / "a").read_bytes() == content


def test_a_server_that_breaks_off_again_and_again_is_given_up(tmp_path: Path, serve) -> None:
    """Attempts without progress are counted; the line says how much has arrived, and the part stays."""
    site = serve(Site({"/a/content": noise(1, 600_000)}, cuts=[12 * PIECE] + [0] * 20))
    pauses: list[float] = []
    with pytest.raises(NetworkError) as caught:
        download_file(requests.Session(), f"{site.address}/a/content", tmp_path / "a", ANY, lambda *_: None,
              pause=pauses.append)  # fmt: skip
    assert "the connection broke off, 196,608 bytes have arrived; run the same command again" in str(caught.value)
    assert pauses == [1, 2, 4, 8, 15, 30]
    assert (tmp_path / "a.part").stat().st_size == 12 * PIECE


def test_a_busy_server_is_given_the_time_that_it_asks_for(tmp_path: Path, serve) -> None:
    """Two answers of 503 with 7 seconds to wait, then the file."""
    site = serve(Site({"/a/content": noise(1)}, busy=2))
    pauses: list[float] = []
    download_file(
        requests.Session(), f"{site.address}/a/content", tmp_path / "a", ANY, lambda *_: None, pause=pauses.append
    )
    assert (tmp_path / "a").read_bytes() == noise(1)
    assert pauses == [7, 7]


def test_a_file_of_another_size_than_published_is_refused_unread(tmp_path: Path, serve) -> None:
    """The declared size decides before anything is stored; so does the limit."""
    site = serve(Site({"/a/content": noise(1, 600_000)}))
    for expected, says in (
        (Expected(None, "", 500_000, 10**9), "offers 600,000 bytes, expected 500,000"),
        (Expected(None, "", None, 500_000), "offers 600,000 bytes, limit 500,000"),
    ):
        got: list[int] = []
        line = refusal(
            lambda expected=expected, got=got: download_file(
                requests.Session(),
                f"{site.address}/a/content",
                tmp_path / "a",
                expected,
                lambda have, _: got.append(have),
            )
        )
        assert says in line
        assert got == []
    assert not (tmp_path / "a").exists()


def test_a_wrong_checksum_is_refused(tmp_path: Path, serve) -> None:
    """An archive that is not the published one is removed; nothing of it is unpacked; exit 3, one line."""
    site = serve(zenodo(archives(), checksum="md5:" + "0" * 32))
    done = lsml(tmp_path, "data", "download", "data", "--url", site.address)
    assert done.returncode == 3
    line = done.stderr.splitlines()[-1]
    assert re.search(r"TrainData.zip/content: checksum differs: md5 [0-9a-f]{32}, expected 0{32}; it was removed", line)
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_the_first_download_counts_where_nothing_is_published(tmp_path: Path, serve) -> None:
    """Without the record's JSON there is nothing to compare with, and it says so; a later one must be the same."""
    made = archives()
    site = serve(zenodo(made))
    del site.files[RECORD]
    done = lsml(tmp_path, "data", "download", "data", "--url", site.address)
    assert done.returncode == 0, done.stderr
    assert "published no checksums" in done.stdout
    shutil.rmtree(tmp_path / "data/TestData")
    site.files[f"{RECORD}/files/TestData.zip/content"] = made["ValidData.zip"]
    line = refusal(lambda: bring(tmp_path / "data", site))
    assert "checksum differs" in line
    assert "at the first download" in line
    assert not (tmp_path / "data/TestData").exists()
    site.files[f"{RECORD}/files/TestData.zip/content"] = made["TestData.zip"]
    assert bring(tmp_path / "data", site).verified == 8


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://zenodo.invalid"])
@pytest.mark.parametrize("source", ["zenodo", "huggingface"])
def test_no_network_is_said_in_one_line(tmp_path: Path, address: str, source: str) -> None:
    """A refused connection and a name that no server knows: exit 3, what to do by hand, nothing left behind."""
    done = lsml(tmp_path, "data", "download", "data", "--url", address, "--source", source)
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"lsml: error: download from {address.removeprefix('http://')}: no network, or no way to")
    assert "by hand: put " in line
    assert list(tmp_path.iterdir()) == []


def test_wrong_words_are_usage_errors(tmp_path: Path) -> None:
    """An address that is none, and a source that is none."""
    for arguments in (("--url", "ftp://a"), ("--source", "elsewhere")):
        done = lsml(tmp_path, "data", "download", "data", *arguments)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(tmp_path: Path, serve) -> None:
    """A petabyte an archive: the sizes in the record are enough to refuse."""
    site = serve(zenodo(archives(), size=10**15))
    line = refusal(lambda: bring(tmp_path / "data", site))
    # (1 + 3.2) x 3 x 10^15 bytes
    assert "needs 12,600,000,000,000,000 bytes" in line
    assert site.fetched() == []


def test_folders_with_something_else_in_them_are_left_alone(tmp_path: Path, serve) -> None:
    """A split from elsewhere is not touched, nor a download from the other source, nor one that is under way."""
    site = serve(zenodo(archives()))
    (tmp_path / "own/TrainData").mkdir(parents=True)
    assert "already exists" in refusal(lambda: bring(tmp_path / "own", site))
    bring(tmp_path / "data", site)
    assert "holds a download from zenodo" in refusal(lambda: bring(tmp_path / "data", site, "huggingface"))
    (tmp_path / "busy/.download").mkdir(parents=True)
    with FileLock(tmp_path / "busy/.download/lock"):
        assert "locked by another download" in refusal(lambda: bring(tmp_path / "busy", site))
    (tmp_path / "data/checksums.json").write_text('{"files": {"a": 1}}')
    assert "checksums.json: unreadable" in refusal(lambda: bring(tmp_path / "data", site))


def linked(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([("TrainData/img/image_1.h5", b"a"), ("../evil.h5", b"b")], "'../evil.h5' points outside the folder"),
        ([("TrainData/../../img/image_1.h5", b"a")], "points outside the folder"),
        ([("/tmp/img/image_1.h5", b"a")], "points outside the folder"),
        ([("..\\img\\image_1.h5", b"a")], "points outside the folder"),
        ([("C:/img/image_1.h5", b"a")], "points outside the folder"),
        ([(linked("TrainData/img/image_1.h5"), b"/etc/passwd")], "is a link or a device"),
        ([("TrainData/img/image_1.h5", bytes(5 * 2**20))], "declares 5,242,880 bytes, limit 4,194,304"),
        ([("a/img/image_1.h5", b"a"), ("b/img/image_1.h5", b"b")], "two files are called img/image_1.h5"),
        ([("TrainData/readme.txt", b"a")], "no img/image_<number>.h5 in it"),
    ],
)
def test_an_archive_with_a_will_of_its_own_is_refused(
    tmp_path: Path, members: list[tuple[str | zipfile.ZipInfo, bytes]], says: str
) -> None:
    """Paths out of the folder, links, bombs and doubles: the whole archive is refused, and nothing is written."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    folder = tmp_path / "below/data"
    assert says in refusal(lambda: unpack_patches(tmp_path / "a.zip", folder, lambda *_: None))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip"]


def test_a_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    """Cut off anywhere, or with a bit turned, it is refused in one line and no folder stays."""
    whole = zipped({f"TrainData/img/image_{k}.h5": noise(k, 50_000) for k in (1, 2, 3)})
    path, folder = tmp_path / "a.zip", tmp_path / "data"
    flipped = bytearray(whole)
    flipped[70_000] ^= 1
    for damaged in (bytes(flipped), *(whole[:size] for size in range(0, len(whole), len(whole) // 10))):
        path.write_bytes(damaged)
        assert "damaged: " in refusal(lambda: unpack_patches(path, folder, lambda *_: None))
        assert not folder.exists()
    path.write_bytes(whole)
    assert len(unpack_patches(path, folder, lambda *_: None)) == 3


def hugging_face(files: Mapping[str, bytes]) -> Site:
    """A site like the Hub's: a tree in two pages, the first files in large file storage, the others in git itself."""
    entries = []
    for order, (path, content) in enumerate(files.items()):
        entry: dict[str, object] = {"type": "file", "path": path, "size": len(content)}
        if order % 2:
            entry["oid"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        else:
            entry["oid"] = "0" * 40
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 132}
        entries.append(entry)
    entries.append({"type": "directory", "oid": "1" * 40, "size": 0, "path": "images/train"})
    tree, half = f"/api/datasets/{REPOSITORY}/tree/main?recursive=true", len(entries) // 2
    site = Site({f"/datasets/{REPOSITORY}/resolve/main/{path}": content for path, content in files.items()})
    site.files |= {tree: json.dumps(entries[:half]).encode(), f"{tree}&cursor=2": json.dumps(entries[half:]).encode()}
    return site


def hub_files() -> dict[str, bytes]:
    files = {}
    for order, split in enumerate(("train", "validation", "test")):
        for k in (1, 2):
            files[f"images/{split}/image_{k}.h5"] = noise(10 * order + k, 50_000)
            files[f"annotations/{split}/mask_{k}.h5"] = noise(100 + 10 * order + k, 2_000)
    return files


def test_the_hub_copy_is_brought_file_by_file(tmp_path: Path, serve) -> None:
    """All pages of the tree count; strays and notes stay there; interrupted by a lie, only the rest is fetched."""
    files = hub_files()
    site = serve(hugging_face(files | {"annotations/train/image_1.h5": b"stray", "README.md": b"notes"}))
    tree = f"/api/datasets/{REPOSITORY}/tree/main?recursive=true"
    site.links[tree] = f"{site.address}{tree}&cursor=2"
    liar = f"/datasets/{REPOSITORY}/resolve/main/images/test/image_2.h5"
    site.files[liar] = noise(99, 50_000)
    assert "image_2.h5: checksum differs" in refusal(lambda: bring(tmp_path / "data", site, "huggingface"))
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".download"]

    staged = len(files_below(tmp_path / "data/.download/files"))
    site.files[liar] = files["images/test/image_2.h5"]
    site.asked.clear()
    done = bring(tmp_path / "data", site, "huggingface")
    assert (done.fetched, done.verified) == (12 - staged, 12)
    assert len(site.fetched()) == 12 - staged
    found = files_below(tmp_path / "data")
    assert json.loads(found.pop("checksums.json"))["source"] == "huggingface"
    assert found == files
    site.asked.clear()
    assert bring(tmp_path / "data", site, "huggingface").fetched == 0
    assert site.asked == []
    assert parse_qs(urlsplit(tree).query) == {"recursive": ["true"]}


def test_a_hub_without_patches_or_checksums_is_refused(tmp_path: Path, serve) -> None:
    """Another layout, an entry without a digest, and an address that answers no JSON are one line each."""
    tree = f"/api/datasets/{REPOSITORY}/tree/main?recursive=true"
    entry = {"type": "file", "path": "images/train/image_1.h5", "size": 5, "oid": "unknown"}
    for answer, says in (
        (b"[]", "no images/{train,validation,test}"),
        (json.dumps([entry]).encode(), "no valid size and checksum"),
        (b"<html>", "the answer is no JSON"),
    ):
        site = serve(Site({tree: answer}))
        assert says in refusal(lambda site=site: bring(tmp_path / "data", site, "huggingface"))
        assert not (tmp_path / "data").exists()

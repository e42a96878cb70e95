"""Fetching from local servers that imitate Zenodo and the hub: whole, stopped, damaged, refused."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import stat
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub.constants as hub
import numpy as np
import pooch.downloaders
import pytest

from bench.cli import app as cli
from bench.data import fetch
from bench.data.fetch.collections import COLLECTIONS
from bench.data.fetch.zenodo import RECEIVED
from bench.spec.errors import UsageError
from bench.spec.note import Progress
from tests.data.test_volumes import nifti, prepared, spider, spine

RECORD = "/api/records/10159290"
REPOSITORY = COLLECTIONS["ctspine1k"].repository
COMMIT = "5" * 40


class Server(ThreadingHTTPServer):
    """A server of files and JSON that counts the bytes it sent and can be made to fail."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, Any] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.sent: Counter[str] = Counter()
        self.drop_after: dict[str, int] = {}
        """Bytes of a file after which the connection is dropped."""
        self.fails: dict[str, tuple[int, dict[str, str]]] = {}
        """Status and headers of what is refused."""
        self.ranges = True

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output clean."""

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, body: bool = True) -> None:
        path = unquote(urlsplit(self.path).path)
        for refused, (code, why) in self.server.fails.items():
            if path.startswith(refused) and body:
                return self.reply(code, b"", why)
        if path in self.server.answers:
            return self.reply(
                200,
                json.dumps(self.server.answers[path]).encode(),
                {"Content-Type": "application/json"},
            )
        content = self.server.files.get(path)
        if content is None:
            return self.reply(404, b"{}", {})
        headers, status, start = dict(self.server.headers.get(path, {})), 200, 0
        wanted = self.headers.get("Range")
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                return self.reply(416, b"", {})
            status, headers["Content-Range"] = (
                206,
                f"bytes {start}-{len(content) - 1}/{len(content)}",
            )
        return self.reply(
            status, content[start:], headers, path if body else "", self.server.drop_after.get(path)
        )

    def reply(
        self,
        status: int,
        content: bytes,
        headers: dict[str, str],
        count: str = "",
        drop: int | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.server.sent[count] += len(content[:drop])  # before the client can go on
        self.wfile.write(content[:drop])
        if drop is not None:
            self.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def zipped(folder: Path, top: str) -> bytes:
    """Return a zip of a folder's files below a top folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"{top}{path.name}")
    return buffer.getvalue()


def content(name: str) -> str:
    """Return where a file of the record lies."""
    return f"{RECORD}/files/{name}/content"


def offer(server: Server, files: dict[str, bytes]) -> None:
    """Put files into the record, as Zenodo lists them."""
    entries = []
    for name, data in files.items():
        server.files[content(name)] = data
        entries.append(
            {
                "id": name,
                "key": name,
                "size": len(data),
                "checksum": f"md5:{hashlib.md5(data).hexdigest()}",
                "links": {"self": server.base + content(name)},
            }
        )
    server.answers[RECORD] = {"id": 10159290, "files": entries}


@pytest.fixture
def zenodo(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Return a server that has SPIDER's record, one zip with and one without the top folder."""
    monkeypatch.setattr(
        pooch.downloaders, "doi_to_url", lambda doi, **_: "https://zenodo.org/records/10159290"
    )
    monkeypatch.setattr(
        pooch.downloaders.ZenodoRepository, "base_api_url", f"{server.base}/api/records"
    )
    spider(tmp_path / "made")
    files = {
        "images.zip": zipped(tmp_path / "made" / "images", "images/"),
        "masks.zip": zipped(tmp_path / "made" / "masks", ""),
        "overview.csv": b"subset,patient\n",
    }
    offer(server, files)
    return server


def silent(what: str, done: int, total: int) -> None:
    """Show no progress."""


def get(to: Path, name: str = "spider", progress: Progress = silent) -> Path:
    return fetch.fetch(COLLECTIONS[name], to, progress)


def test_what_is_fetched_is_what_the_adapter_reads(zenodo: Server, tmp_path: Path) -> None:
    to = tmp_path / "data"
    assert get(to) == to / "mr"
    assert sorted(p.name for p in (to / "mr").iterdir()) == [
        "fetched.json",
        "images",
        "masks",
        "overview.csv",
    ]
    assert sorted(p.name for p in to.iterdir()) == ["mr"]  # neither zips nor parts stay
    for path in (tmp_path / "made").rglob("*.mha"):
        assert (to / "mr" / path.relative_to(tmp_path / "made")).read_bytes() == path.read_bytes()
    dataset = prepared(to, "mr")
    assert sorted(dataset.patients) == ["1", "2", "30"]
    assert dataset.left_out == ()
    record = json.loads((to / "mr" / "fetched.json").read_text())
    assert record["source"]["licence"] == "CC BY 4.0"
    assert record["files"]["images.zip"].startswith("md5:")


def test_a_second_run_asks_nobody(tmp_path: Path, no_network: None) -> None:
    (tmp_path / "mr").mkdir()
    (tmp_path / "mr" / "fetched.json").write_text(json.dumps({"source": {"name": "spider"}}))
    assert get(tmp_path) == tmp_path / "mr"


def test_a_second_run_transfers_nothing(zenodo: Server, tmp_path: Path) -> None:
    get(tmp_path)
    before = dict(zenodo.sent)
    get(tmp_path)
    assert dict(zenodo.sent) == before


def test_what_was_stopped_goes_on_where_it_stopped(zenodo: Server, tmp_path: Path) -> None:
    path, seen = content("images.zip"), []
    size, kept = len(zenodo.files[path]), RECEIVED
    zenodo.drop_after[path] = kept + 1000
    with pytest.raises(
        UsageError, match=rf"images.zip stopped at {kept} of {size} bytes .* it goes on"
    ) as error:
        get(tmp_path)
    assert "\n" not in str(error.value)
    assert (tmp_path / ".spider.part" / "images.zip.part").stat().st_size == kept
    assert not (tmp_path / "mr").exists()
    del zenodo.drop_after[path]
    zenodo.sent.clear()
    get(tmp_path, progress=lambda *step: seen.append(step))
    assert zenodo.sent[path] == size - kept
    assert seen[0] == ("images.zip", kept, size)
    assert len(prepared(tmp_path, "mr").patients) == 3


def test_what_is_unpacked_is_not_fetched_again(zenodo: Server, tmp_path: Path) -> None:
    zenodo.fails[content("masks.zip")] = (503, {})
    with pytest.raises(
        UsageError, match=r"masks.zip stopped at 0 of \d+ bytes \(the server answered 503\)"
    ):
        get(tmp_path)
    zenodo.fails.clear()
    zenodo.sent.clear()
    get(tmp_path)
    assert zenodo.sent[content("images.zip")] == 0
    assert zenodo.sent[content("masks.zip")] > 0


@pytest.mark.parametrize("ranges", [True, False], ids=["416", "ranges ignored"])
def test_a_part_that_does_not_fit_is_fetched_anew(
    zenodo: Server, tmp_path: Path, ranges: bool
) -> None:
    path = content("images.zip")
    size, zenodo.ranges = len(zenodo.files[path]), ranges
    (tmp_path / ".spider.part").mkdir()
    (tmp_path / ".spider.part" / "images.zip.part").write_bytes(
        b"x" * (size + 5 if ranges else 1000)
    )
    get(tmp_path)
    assert zenodo.sent[path] == size


def test_a_refused_range_is_asked_for_without(zenodo: Server, tmp_path: Path) -> None:
    """The record's size is too large: 416 comes, then the whole file, then the hash decides."""
    path = content("images.zip")
    zenodo.answers[RECORD]["files"][0]["size"] += 100
    size = len(zenodo.files[path])
    (tmp_path / ".spider.part").mkdir()
    (tmp_path / ".spider.part" / "images.zip.part").write_bytes(b"x" * (size + 5))
    with pytest.raises(UsageError, match=f"images.zip stopped at {size} of {size + 100} bytes"):
        get(tmp_path)
    assert zenodo.sent[path] == size


def test_a_whole_part_is_not_asked_for_again(zenodo: Server, tmp_path: Path) -> None:
    path = content("images.zip")
    (tmp_path / ".spider.part").mkdir()
    (tmp_path / ".spider.part" / "images.zip.part").write_bytes(zenodo.files[path])
    get(tmp_path)
    assert zenodo.sent[path] == 0


def test_damaged_content_is_said_and_removed(zenodo: Server, tmp_path: Path) -> None:
    path = content("images.zip")
    whole = zenodo.files[path]
    zenodo.files[path] = whole[:-1] + b"?"
    with pytest.raises(
        UsageError, match=r"images.zip is not what .* \(other md5\), and was removed; run"
    ) as e:
        get(tmp_path)
    assert "\n" not in str(e.value)
    assert [p.name for p in (tmp_path / ".spider.part").iterdir()] == ["ready"]
    zenodo.files[path] = whole
    get(tmp_path)
    assert len(prepared(tmp_path, "mr").patients) == 3


def test_a_small_disk_is_refused_first(
    zenodo: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 0, 10**8))
    with pytest.raises(
        UsageError, match=r"needs 50\d.\d MB, 100.0 MB are free; make room or choose another --to"
    ):
        get(tmp_path / "data")
    assert not (tmp_path / "data").exists()
    assert not any(zenodo.sent[place] for place in zenodo.files)


def test_the_disk_is_measured_by_what_is_missing(zenodo: Server, tmp_path: Path) -> None:
    found = fetch.offer(COLLECTIONS["spider"])
    sizes = {file.name: file.size for file in found.files}
    work = tmp_path / ".spider.part"
    assert (
        fetch.missing(found, work)
        == 2 * (sizes["images.zip"] + sizes["masks.zip"]) + sizes["overview.csv"]
    )
    (work / "ready" / "masks").mkdir(parents=True)
    (work / "images.zip.part").write_bytes(b"x" * 100)
    assert fetch.missing(found, work) == 2 * sizes["images.zip"] - 100 + sizes["overview.csv"]


def evil(name: str, link: bool = False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        member = zipfile.ZipInfo(name)
        member.external_attr = (stat.S_IFLNK if link else stat.S_IFREG) << 16
        archive.writestr("images/1_t2.mha", b"fine")
        archive.writestr(member, b"/etc/passwd")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("../../out.txt", False),
        ("/tmp/out.txt", False),
        ("images/../../out.txt", False),
        ("..\\out.txt", False),
        ("C:/out.txt", False),
        ("images/1_t1.mha", True),
    ],
)
def test_zips_that_lead_out_are_refused(
    zenodo: Server, tmp_path: Path, name: str, link: bool
) -> None:
    offer(zenodo, {"images.zip": evil(name, link)})
    to = tmp_path / "deep" / "data"
    with pytest.raises(UsageError, match=r"images.zip of .* holds .*nothing of it was written"):
        get(to)
    assert sorted(p.name for p in to.rglob("*")) == [".spider.part", "images.zip", "ready"]
    assert not list(tmp_path.rglob("out.txt"))


def test_a_record_that_names_a_place_outside_is_refused(zenodo: Server, tmp_path: Path) -> None:
    offer(zenodo, {"../out.csv": b"1"})
    with pytest.raises(UsageError, match="leads out of its folder"):
        get(tmp_path)


def test_an_interrupted_unpacking_is_not_taken_for_finished(
    zenodo: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if what.startswith("unpacking") and 0 < done < total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(tmp_path, progress=stop)
    assert not (tmp_path / "mr").exists()
    assert not (tmp_path / ".spider.part" / "ready" / "images").exists()
    zenodo.sent.clear()
    get(tmp_path)
    assert zenodo.sent[content("images.zip")] == 0
    assert len(prepared(tmp_path, "mr").patients) == 3


def test_other_data_are_left_alone(zenodo: Server, slices: Callable[..., Path]) -> None:
    data = slices(patients=1)
    with pytest.raises(UsageError, match=r"mr holds other data; .*choose another --to"):
        get(data)
    assert not zenodo.sent.total()


@pytest.mark.parametrize("answer", [{}, {"files": [{"key": "a"}]}, [], {"files": [{"other": 1}]}])
def test_an_answer_of_another_form_is_one_line(zenodo: Server, tmp_path: Path, answer: Any) -> None:
    zenodo.answers[RECORD] = answer
    with pytest.raises(UsageError, match="does not list its files") as error:
        get(tmp_path)
    assert "\n" not in str(error.value)


def test_no_network_is_one_line(
    zenodo: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooch.downloaders.ZenodoRepository, "base_api_url", "http://127.0.0.1:1")
    with pytest.raises(UsageError, match=r"does not list its files \(ConnectionError\)"):
        get(tmp_path / "data")
    assert not (tmp_path / "data").exists()


# The hub


@pytest.fixture
def on_hub(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Return a server that has the mirror of CTSpine1K."""
    monkeypatch.setattr(hub, "ENDPOINT", server.base)
    monkeypatch.setattr(
        hub, "HUGGINGFACE_CO_URL_TEMPLATE", server.base + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(hub, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "HF_TOKEN_PATH", str(tmp_path / "token"))
    made = tmp_path / "made"
    for number, (folder, name) in enumerate(
        {"MSD-T10": "liver_0", "COVID-19": "volume-covid19-A-0003_ct"}.items()
    ):
        image, labels = spine(number)
        nifti(made / "raw_data" / "volumes" / folder / f"{name}.nii.gz", image)
        nifti(made / "raw_data" / "labels" / folder / f"{name}_seg.nii.gz", labels.astype(np.uint8))
    (made / "metadata").mkdir()
    (made / "metadata" / "data_split.txt").write_text("trainset:\n")
    (made / "data.arrow").write_bytes(b"x" * 1000)
    siblings, tree = [], []
    for path in sorted(p for p in made.rglob("*") if p.is_file()):
        name, data = str(path.relative_to(made)), path.read_bytes()
        sha, place = (
            hashlib.sha256(data).hexdigest(),
            f"/datasets/{REPOSITORY}/resolve/{COMMIT}/{name}",
        )
        large = name.endswith(".gz")
        server.files[place] = data
        server.headers[place] = {"ETag": f'"{sha if large else sha[:40]}"', "X-Repo-Commit": COMMIT}
        entry: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": sha[:40]}
        leaf: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": sha[:40]}
        if large:
            entry["lfs"] = {"sha256": sha, "size": len(data), "pointerSize": 134}
            leaf["lfs"] = {"oid": sha, "size": len(data), "pointerSize": 134}
        siblings.append(entry)
        tree.append(leaf)
    info = {"_id": "1", "id": REPOSITORY, "sha": COMMIT, "siblings": siblings, "tags": []}
    for place in (f"/api/datasets/{REPOSITORY}", f"/api/datasets/{REPOSITORY}/revision/{COMMIT}"):
        server.answers[place] = info
    server.answers[f"/api/datasets/{REPOSITORY}/tree/{COMMIT}"] = tree
    return server


def resolved(name: str) -> str:
    return f"/datasets/{REPOSITORY}/resolve/{COMMIT}/{name}"


LIVER = resolved("raw_data/volumes/MSD-T10/liver_0.nii.gz")


def test_the_mirror_is_what_the_adapter_reads(on_hub: Server, tmp_path: Path) -> None:
    to, seen = tmp_path / "data", []
    get(to, "ctspine1k", lambda *step: seen.append(step))
    assert sorted(p.name for p in (to / "ct-verse").iterdir()) == [
        "fetched.json",
        "metadata",
        "raw_data",
    ]
    assert sorted(p.name for p in to.iterdir()) == ["ct-verse"]
    assert on_hub.sent[resolved("data.arrow")] == 0
    dataset = prepared(to, "ct-verse")
    assert sorted(dataset.patients) == ["liver_0", "volume-covid19-A-0003"]
    assert dataset.left_out == ()
    assert {what for what, _, _ in seen} == {"ctspine1k", "checking ctspine1k"}
    assert seen[-1][1] == seen[-1][2] == sum(on_hub.sent[place] for place in on_hub.files)
    before = dict(on_hub.sent)
    get(to, "ctspine1k")
    assert dict(on_hub.sent) == before


def test_the_hub_goes_on_with_what_is_missing(on_hub: Server, tmp_path: Path) -> None:
    on_hub.fails[LIVER] = (503, {})
    with pytest.raises(
        UsageError, match=r"ctspine1k stopped at \d+ of \d+ bytes .*; run the same command again"
    ) as e:
        get(tmp_path, "ctspine1k")
    assert "\n" not in str(e.value)
    assert not (tmp_path / "ct-verse").exists()
    first = dict(on_hub.sent)
    on_hub.fails.clear()
    get(tmp_path, "ctspine1k")
    wanted = [place for place in on_hub.files if not place.endswith(".arrow")]
    assert any(first.get(place) for place in wanted)
    for place in wanted:
        assert on_hub.sent[place] == len(
            on_hub.files[place]
        )  # once, in the first call or in the second


def test_a_part_of_the_mirror_is_not_taken_for_all_of_it(on_hub: Server, tmp_path: Path) -> None:
    """Where the hub's list cannot be had, its library returns the folder as it is."""
    part = tmp_path / ".ctspine1k.part" / "ready" / "metadata"
    part.mkdir(parents=True)
    (part / "data_split.txt").write_text("trainset:\n")
    on_hub.fails[f"/api/datasets/{REPOSITORY}/"] = (418, {})  # a 503 is asked for again, for 23 s
    with pytest.raises(UsageError, match="ctspine1k stopped at 10 of"):
        get(tmp_path, "ctspine1k")
    assert not (tmp_path / "ct-verse").exists()


def test_damaged_content_of_the_hub_is_said_and_removed(on_hub: Server, tmp_path: Path) -> None:
    whole = on_hub.files[LIVER]
    on_hub.files[LIVER] = whole[:-1] + b"?"
    with pytest.raises(
        UsageError, match=r"liver_0.nii.gz \(1 in all\) is not what .*other sha256\)"
    ):
        get(tmp_path, "ctspine1k")
    assert not (tmp_path / "ct-verse").exists()
    on_hub.files[LIVER] = whole
    get(tmp_path, "ctspine1k")
    assert len(prepared(tmp_path, "ct-verse").patients) == 2


@pytest.mark.parametrize(
    ("status", "headers", "line"),
    [
        (401, {"X-Error-Code": "RepoNotFound"}, "is not there any more, or not for everyone"),
        (
            401,
            {"X-Error-Code": "GatedRepo"},
            "asks for an agreement now; accept it there, put your token into HF_TOKEN",
        ),
        (404, {"X-Error-Code": "RepoNotFound"}, "is not there any more"),
        (418, {}, r"does not list its files \(the server answered 418\)"),
    ],
)
def test_refusals_of_the_hub_are_one_line(
    on_hub: Server, tmp_path: Path, status: int, headers: dict[str, str], line: str
) -> None:
    on_hub.fails["/api/"] = (status, headers)
    with pytest.raises(UsageError, match=line) as error:
        get(tmp_path, "ctspine1k")
    assert "\n" not in str(error.value)


def test_a_hub_without_network_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(UsageError, match=r"does not list its files \(ConnectE"):
        get(tmp_path, "ctspine1k")


def test_a_mirror_without_volumes_is_said(on_hub: Server, tmp_path: Path) -> None:
    info = on_hub.answers[f"/api/datasets/{REPOSITORY}"]
    info["siblings"] = [each for each in info["siblings"] if not each["rfilename"].endswith(".gz")]
    with pytest.raises(UsageError, match="offers no volumes any more"):
        get(tmp_path, "ctspine1k")


# The command


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["bench", "data", "fetch", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out + err


def test_the_command_shows_the_terms_and_downloads_nothing_without_yes(
    zenodo: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    to = tmp_path / "my data"
    code, said = call(monkeypatch, capsys, "spider", "--to", str(to))
    assert code == 2
    for word in (
        "SPIDER",
        "CC BY 4.0",
        "https://creativecommons.org/licenses/by/4.0/",
        "van der Graaf",
        "in 3 files",
    ):
        assert word in said
    assert f"bench data fetch spider --to '{to}' --accept-licence" in said
    assert not to.exists()
    assert not any(zenodo.sent[place] for place in zenodo.files)


def test_the_command_fetches_and_says_what_is_next(
    zenodo: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    to = tmp_path / "data"
    zenodo.drop_after[content("masks.zip")] = RECEIVED + 1000
    code, said = call(monkeypatch, capsys, "spider", "--to", str(to), "--accept-licence")
    assert code == 2
    assert said.splitlines()[-1].startswith(f"bench: masks.zip stopped at {RECEIVED} of")
    zenodo.drop_after.clear()
    code, said = call(monkeypatch, capsys, "spider", "--to", str(to), "--accept-licence")
    assert code == 0
    assert "masks.zip: " in said
    assert "32.8 kB of them from before" in said
    assert f"Next: bench data prepare mr --from {to / 'mr'}" in said
    code, said = call(monkeypatch, capsys, "spider", "--to", str(to))
    assert (code, said.count("\n")) == (0, 1)
    assert "nothing to fetch" in said


@pytest.mark.parametrize("name", ["mrspineseg", "spineweb16", "verse"])
def test_what_others_own_is_never_downloaded(
    name: str,
    tmp_path: Path,
    no_network: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, said = call(monkeypatch, capsys, name, "--to", str(tmp_path), "--accept-licence")
    assert code == 2
    assert said.count("\n") == 1
    for word in ("never downloaded", "belongs to", "get it at http", "README.md"):
        assert word in said


def test_the_nearest_name_is_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = call(monkeypatch, capsys, "spyder", "--to", str(tmp_path))
    assert code == 2
    assert "did you mean 'spider'?" in said


def test_nothing_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, bench.cli, bench.cli.fetch; "
        "print(*sorted({'pooch', 'requests', 'huggingface_hub', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""

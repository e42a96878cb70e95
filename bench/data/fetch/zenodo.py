"""Fetch from Zenodo with pooch: a few large files with their MD5; transfers can be continued."""

from __future__ import annotations

import shutil
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from bench.data.fetch.collections import BLOCK, TIMEOUT, Collection, File, Offer, inside, room
from bench.spec.errors import UsageError
from bench.spec.note import Progress

RECEIVED = 1 << 15
"""Bytes that are written at once; if the connection ends, at most so many are lost."""
AGENT = {"User-Agent": "verdiff-bench"}


def offer(collection: Collection) -> Offer:
    """Return the list of files that a record of Zenodo has.

    Raises:
        UsageError: Zenodo does not answer, or not as expected.
    """
    import pooch
    import requests
    from pooch.downloaders import doi_to_repository

    try:
        record = doi_to_repository(collection.doi, headers=AGENT, timeout=TIMEOUT)
        pup = pooch.create(path=Path(), base_url=f"doi:{collection.doi}/", registry=None)
        record.populate_registry(pup)
        sizes = {}
        for entry in record.api_response["files"]:
            name = entry.get("key") or entry["filename"]
            sizes[name] = int(entry.get("size") or entry["filesize"])
        files = tuple(
            File(name, sizes[name], digest, record.download_url(name))
            for name, digest in pup.registry.items()
        )
    except (requests.RequestException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{collection.home} does not list its files ({type(error).__name__}); "
            "expected sizes and MD5 of each: look whether this machine reaches it, and run again"
        ) from error
    return Offer(collection.doi, files)


def fetch(collection: Collection, offered: Offer, work: Path, progress: Progress) -> None:
    """Fetch a record's files, and unpack its zips.

    Raises:
        UsageError: The transfer stopped, or the content is not what the record says.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    urls = {file.name: file.url for file in offered.files}
    digests = {file.name: file.digest for file in offered.files}
    pup = pooch.create(path=work, base_url=collection.home, registry=digests, urls=urls)
    for file in offered.files:
        is_zip = file.name.endswith(".zip")
        target = work / "ready" / (Path(file.name).stem if is_zip else file.name)
        if target.exists():
            continue
        try:
            pup.fetch(file.name, downloader=Resuming(file, progress))
        except ValueError as error:
            kind = file.digest.partition(":")[0]
            raise UsageError(
                f"{file.name} is not what {collection.home} says it is (other {kind}), "
                "and was removed; run the same command again"
            ) from error
        if is_zip:
            unpack(work / file.name, target, collection.home, progress)
            (work / file.name).unlink()
        else:
            (work / file.name).rename(target)


@dataclass(frozen=True)
class Resuming:
    """A downloader for pooch that continues the `.part` file of an earlier call."""

    file: File
    progress: Progress

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:
        """Write the whole file to `output_file`, where pooch checks its hash."""
        part = Path(output_file).parent / f"{self.file.name}.part"
        received = part.stat().st_size if part.is_file() else 0
        if received > self.file.size:
            part.unlink()  # it belongs to another file
            received = 0
        self.progress(self.file.name, received, self.file.size)
        if received < self.file.size or not received:
            self._transfer(url, part, received)
        part.replace(output_file)

    def _transfer(self, url: str, part: Path, received: int) -> None:
        """Continue a transfer of which `received` bytes are in the file `part`."""
        import requests

        headers = {**AGENT, "Accept-Encoding": "identity"}
        if received:
            headers["Range"] = f"bytes={received}-"
        why = "the connection ended"
        try:
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
                status = answer.status_code
                content_range = answer.headers.get("Content-Range", "")
                continues = content_range.startswith(f"bytes {received}-")
                # 416: the server cannot continue there. 206: it sends a part, but another one.
                if received and (status == 416 or (status == 206 and not continues)):
                    part.unlink(missing_ok=True)
                    return self._transfer(url, part, 0)
                answer.raise_for_status()
                if status != 206:
                    received = 0  # the server sends the whole file
                with part.open("ab" if received else "wb") as out:
                    for block in answer.iter_content(RECEIVED):
                        out.write(block)
                        received += len(block)
                        self.progress(self.file.name, received, self.file.size)
        except requests.HTTPError as error:
            why = f"the server answered {error.response.status_code}"
        except requests.RequestException as error:
            why = type(error).__name__
        if received < self.file.size:
            raise UsageError(
                f"{self.file.name} stopped at {received} of {self.file.size} bytes ({why}); "
                "run the same command again, it goes on"
            )
        return None


def unpack(archive: Path, folder: Path, home: str, progress: Progress) -> None:
    """Unpack a zip into a folder, which appears only when it is complete.

    A top folder of the same name in the zip is not repeated.

    Raises:
        UsageError: A member leads out of the folder or is a link, the zip is damaged, or the disk
            is too small.
    """
    unfinished = archive.with_suffix(".half")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = [member for member in zipped.infolist() if not member.is_dir()]
            origin = f"{archive.name} of {home}"
            places = [_place(member, folder.name, origin) for member in members]
            total, done = sum(member.file_size for member in members), 0
            room(total, archive.parent, f"what is in {archive.name}")
            progress(f"unpacking {archive.name}", 0, total)
            for member, place in zip(members, places, strict=True):
                target = unfinished / place
                target.parent.mkdir(parents=True, exist_ok=True)
                with zipped.open(member) as packed, target.open("wb") as out:
                    shutil.copyfileobj(packed, out, BLOCK)
                done += member.file_size
                progress(f"unpacking {archive.name}", done, total)
    except (zipfile.BadZipFile, RuntimeError, EOFError) as error:
        raise UsageError(
            f"{archive} cannot be unpacked ({error}); remove it and run the same command again"
        ) from error
    unfinished.rename(folder)


def _place(member: zipfile.ZipInfo, top: str, what: str) -> PurePosixPath:
    if stat.S_ISLNK(member.external_attr >> 16):
        raise UsageError(
            f"{what} holds the link '{member.filename}'; nothing of it was written: tell its owners"
        )
    path = inside(member.filename, what)
    if path.parts[0] == top and len(path.parts) > 1:
        return path.relative_to(top)
    return path

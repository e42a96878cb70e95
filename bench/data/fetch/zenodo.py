"""Zenodo: a few large files with their MD5, fetched by pooch and taken up where they were cut off."""

from __future__ import annotations

import shutil
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from bench.data.fetch.sources import BLOCK, TIMEOUT, File, Offer, Progress, Source, inside, room
from bench.spec.errors import UsageError

RECEIVED = 1 << 15
"""Bytes that are written at once as they come in: what a dropped connection loses."""
AGENT = {"User-Agent": "verdiff-bench"}


def offer(source: Source) -> Offer:
    """Ask Zenodo what a record holds.

    Raises:
        UsageError: It does not answer, or not as expected.
    """
    import pooch
    import requests
    from pooch.downloaders import doi_to_repository

    try:
        record = doi_to_repository(source.doi, headers=AGENT, timeout=TIMEOUT)
        pup = pooch.create(path=Path(), base_url=f"doi:{source.doi}/", registry=None)
        record.populate_registry(pup)
        said = {each.get("key") or each["filename"]: each for each in record.api_response["files"]}
        files = tuple(
            File(
                name,
                int(said[name].get("size") or said[name]["filesize"]),
                digest,
                record.download_url(name),
            )
            for name, digest in pup.registry.items()
        )
    except (requests.RequestException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{source.home} does not list its files ({type(error).__name__}); expected sizes and"
            " MD5 of each: look whether this machine reaches it, and run again"
        ) from error
    return Offer(source.doi, files)


def fetch(source: Source, found: Offer, work: Path, progress: Progress) -> None:
    """Fetch a record's files, and unpack its zips.

    Raises:
        UsageError: The transfer stopped, or the content is not what the record says.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    urls, digests = {f.name: f.url for f in found.files}, {f.name: f.digest for f in found.files}
    pup = pooch.create(path=work, base_url=source.home, registry=digests, urls=urls)
    for file in found.files:
        is_zip = file.name.endswith(".zip")
        target = work / "ready" / (Path(file.name).stem if is_zip else file.name)
        if target.exists():
            continue
        try:
            pup.fetch(file.name, downloader=Resuming(file, progress))
        except ValueError as error:
            raise UsageError(
                f"{file.name} is not what {source.home} says it is (other"
                f" {file.digest.partition(':')[0]}), and was removed; run the same command again"
            ) from error
        if is_zip:
            unpack(work / file.name, target, source.home, progress)
            (work / file.name).unlink()
        else:
            (work / file.name).rename(target)


@dataclass(frozen=True)
class Resuming:
    """A downloader for pooch that goes on with the `.part` which an earlier call left behind."""

    file: File
    progress: Progress

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:
        """Put the whole file where pooch, which checks its hash, wants it."""
        part = Path(output_file).parent / f"{self.file.name}.part"
        there = part.stat().st_size if part.is_file() else 0
        if there > self.file.size:
            part.unlink()  # of another file: nothing of it is known to be good
            there = 0
        self.progress(self.file.name, there, self.file.size)
        if there < self.file.size or not there:
            self._transfer(url, part, there)
        part.replace(output_file)

    def _transfer(self, url: str, part: Path, there: int) -> None:
        import requests

        headers = {
            **AGENT,
            "Accept-Encoding": "identity",
            **({"Range": f"bytes={there}-"} if there else {}),
        }
        why = "the connection ended"
        try:
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
                continues = answer.headers.get("Content-Range", "").startswith(f"bytes {there}-")
                if there and (
                    answer.status_code == 416 or (answer.status_code == 206 and not continues)
                ):
                    part.unlink(missing_ok=True)
                    return self._transfer(url, part, 0)
                answer.raise_for_status()
                there = there if answer.status_code == 206 else 0  # 200: the server sends all of it
                with part.open("ab" if there else "wb") as out:
                    for block in answer.iter_content(RECEIVED):
                        out.write(block)
                        there += len(block)
                        self.progress(self.file.name, there, self.file.size)
        except requests.HTTPError as error:
            why = f"the server answered {error.response.status_code}"
        except requests.RequestException as error:
            why = type(error).__name__
        if there < self.file.size:
            raise UsageError(
                f"{self.file.name} stopped at {there} of {self.file.size} bytes ({why}); run the"
                " same command again, it goes on"
            )
        return None


def unpack(archive: Path, folder: Path, home: str, progress: Progress) -> None:
    """Unpack a zip into a folder that appears when it is whole; a top folder of the same name is not repeated.

    Raises:
        UsageError: A member leads out of the folder or is a link, the zip is damaged, or the disk
            is too small.
    """
    half = archive.with_suffix(".half")
    shutil.rmtree(half, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = [member for member in zipped.infolist() if not member.is_dir()]
            places = [
                _place(member, folder.name, f"{archive.name} of {home}") for member in members
            ]
            total, done = sum(member.file_size for member in members), 0
            room(total, archive.parent, f"what is in {archive.name}")
            progress(f"unpacking {archive.name}", 0, total)
            for member, place in zip(members, places, strict=True):
                target = half / place
                target.parent.mkdir(parents=True, exist_ok=True)
                with zipped.open(member) as packed, target.open("wb") as out:
                    shutil.copyfileobj(packed, out, BLOCK)
                done += member.file_size
                progress(f"unpacking {archive.name}", done, total)
    except (zipfile.BadZipFile, RuntimeError, EOFError) as error:
        raise UsageError(
            f"{archive} cannot be unpacked ({error}); remove it and run the same command again"
        ) from error
    half.rename(folder)


def _place(member: zipfile.ZipInfo, top: str, what: str) -> PurePosixPath:
    if stat.S_ISLNK(member.external_attr >> 16):
        raise UsageError(
            f"{what} holds the link '{member.filename}'; nothing of it was written: tell its owners"
        )
    path = inside(member.filename, what)
    return path.relative_to(top) if path.parts[0] == top and len(path.parts) > 1 else path

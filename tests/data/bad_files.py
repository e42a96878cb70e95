"""Files that cannot be used, each as something leaves them in the place of an image or a mask.

Each maker is given the path without a suffix, and writes one file there or several.
"""

from __future__ import annotations

import gzip
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK
import tifffile
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, generate_uid

HEIGHT, WIDTH = 40, 56
MB = 1 << 20
Make = Callable[[Path], object]
MAKERS: dict[str, Make] = {}


def maker(make: Make) -> Make:
    """Register a maker by its name."""
    MAKERS[make.__name__] = make
    return make


def pixels(kind: Any = np.uint8) -> NDArray[Any]:
    """Return an image that is also a mask of few labels."""
    values = np.zeros((HEIGHT, WIDTH), kind)
    values[5:20, 8:30] = 1
    return values


def with_suffix(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def nifti(path: Path, values: NDArray[Any], suffix: str = ".nii") -> Path:
    file = with_suffix(path, suffix)
    nibabel.save(nibabel.Nifti1Image(values.T[:, :, None], np.eye(4)), file)
    return file


def changed(file: Path, how: Callable[[bytearray], object]) -> None:
    """Change the bytes of a file."""
    content = bytearray(file.read_bytes())
    how(content)
    file.write_bytes(content)


def cut(file: Path, share: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])


def packed_nifti(path: Path, how: Callable[[bytearray], object], level: int = 9) -> None:
    file = nifti(path, pixels())
    content = bytearray(gzip.compress(file.read_bytes(), level))
    file.unlink()
    how(content)
    with_suffix(path, ".nii.gz").write_bytes(content)


# Values that are no grey values


def _floating(bad: float) -> NDArray[np.float32]:
    values = pixels(np.float32)
    values[3, 3] = bad
    return values


for _name, _bad in (("nan", np.nan), ("infinite", np.inf), ("below", -np.inf)):
    MAKERS |= {
        f"{_name}_nifti": lambda path, bad=_bad: nifti(path, _floating(bad)),
        f"{_name}_packed_nifti": lambda path, bad=_bad: nifti(path, _floating(bad), ".nii.gz"),
        f"{_name}_metaimage": lambda path, bad=_bad: metaimage_of(path, _floating(bad)),
        f"{_name}_tiff": lambda path, bad=_bad: tifffile.imwrite(
            with_suffix(path, ".tif"), _floating(bad), photometric="minisblack"
        ),
        f"{_name}_numpy": lambda path, bad=_bad: np.save(with_suffix(path, ".npy"), _floating(bad)),
    }
for _kind in ("complex64", "datetime64[s]", "timedelta64[s]", "U3", "S3", "V5"):
    MAKERS[f"{_kind}_numpy"] = lambda path, kind=_kind: np.save(
        with_suffix(path, ".npy"), pixels().astype(kind)
    )


@maker
def objects_numpy(path: Path) -> None:
    np.save(with_suffix(path, ".npy"), pixels().astype(object), allow_pickle=True)


@maker
def complex_nifti(path: Path) -> None:
    nifti(path, pixels(np.complex64))


@maker
def complex_tiff(path: Path) -> None:
    tifffile.imwrite(with_suffix(path, ".tif"), pixels(np.complex64), photometric="minisblack")


def metaimage_of(path: Path, values: NDArray[Any], suffix: str = ".mha") -> None:
    image = SimpleITK.GetImageFromArray(values[None])
    SimpleITK.WriteImage(image, str(with_suffix(path, suffix)))


# NIfTI


@maker
def truncated_packed_nifti(path: Path) -> None:
    cut(nifti(path, pixels(), ".nii.gz"), 0.5)


@maker
def nifti_without_checksum(path: Path) -> None:
    packed_nifti(path, lambda content: content.__delitem__(slice(-8, None)))


@maker
def nifti_with_a_flipped_bit(path: Path) -> None:
    packed_nifti(path, lambda content: content.__setitem__(1200, content[1200] ^ 4), level=0)


@maker
def nifti_with_garbage_behind(path: Path) -> None:
    packed_nifti(path, lambda content: content.extend(b"garbage" * 9))


@maker
def nifti_that_inflates(path: Path) -> None:
    packed_nifti(path, lambda content: content.extend(gzip.compress(bytes(64 * MB), 1)))


@maker
def nifti_of_another_length(path: Path) -> None:
    cut(nifti(path, pixels()), 0.9)


def _sized(path: Path, *sides: int) -> Path:
    file = nifti(path, pixels())
    changed(file, lambda content: struct.pack_into(f"<{len(sides)}h", content, 42, *sides))
    return file


@maker
def nifti_of_absurd_sides(path: Path) -> None:
    _sized(path, 30000, 30000, 30000)


@maker
def nifti_of_negative_sides(path: Path) -> None:
    _sized(path, -40, -56, 1)


@maker
def packed_nifti_that_says_too_much(path: Path) -> None:
    file = _sized(path, 8000, 8000, 1)
    with_suffix(path, ".nii.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()


@maker
def empty_packed_nifti(path: Path) -> None:
    with_suffix(path, ".nii.gz").touch()


@maker
def packed_text(path: Path) -> None:
    with_suffix(path, ".nii.gz").write_bytes(gzip.compress(b"hello"))


@maker
def header_without_voxels(path: Path) -> None:
    with_suffix(path, ".hdr").write_bytes(bytes(348))


# MetaImage

HEADER = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = {packed}
{more}TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 0 0 0
ElementSpacing = 1 1 1
DimSize = {size}
ElementType = {kind}
ElementDataFile {equals} {data}
"""


def metaimage(path: Path, suffix: str = ".mha", content: bytes = b"", **fields: object) -> None:
    usual = {
        "packed": True,
        "more": "",
        "size": f"{WIDTH} {HEIGHT} 1",
        "kind": "MET_UCHAR",
        "equals": "=",
        "data": "LOCAL",
    }
    header = HEADER.format(**{**usual, **fields})
    with_suffix(path, suffix).write_bytes(header.encode() + content)


PACKED = zlib.compress(pixels().tobytes())


def _flipped(content: bytes, place: int) -> bytes:
    changed_bytes = bytearray(content)
    changed_bytes[place] ^= 4
    return bytes(changed_bytes)


MAKERS |= {
    "garbage_metaimage": lambda path: metaimage(path, content=bytes(range(1, 255)) * 4),
    "truncated_metaimage": lambda path: metaimage(path, content=PACKED[:-9]),
    "metaimage_with_a_flipped_bit": lambda path: metaimage(
        path, content=_flipped(zlib.compress(pixels().tobytes(), 0), 500)
    ),
    "metaimage_that_inflates": lambda path: metaimage(path, content=zlib.compress(bytes(64 * MB))),
    "short_metaimage": lambda path: metaimage(path, content=zlib.compress(bytes(1000))),
    "absurd_metaimage": lambda path: metaimage(path, content=PACKED, size="56000 40000 30"),
    "negative_metaimage": lambda path: metaimage(path, content=PACKED, size="-56 -40 1"),
    "metaimage_of_words": lambda path: metaimage(path, content=PACKED, size="a b c"),
    "metaimage_of_digits": lambda path: metaimage(path, content=PACKED, size="9" * 5000),
    "metaimage_of_unknown_kind": lambda path: metaimage(path, content=PACKED, kind="MET_NONE"),
    "metaimage_of_an_offset": lambda path: metaimage(path, content=PACKED, more="HeaderSize = 3\n"),
    "metaimage_of_another_file": lambda path: metaimage(path, data=_outside(path)),
    "metaimage_of_another_file_unpacked": lambda path: metaimage(
        path, packed=False, data=_outside(path), more="HeaderSize = 0\n"
    ),
    "header_of_a_file_outside": lambda path: metaimage(
        path, ".mhd", packed=False, data=_outside(path)
    ),
    "header_of_a_file_above": lambda path: metaimage(
        path, ".mhd", packed=False, data=f"../../{Path(_outside(path)).name}"
    ),
    "header_of_a_system_file": lambda path: metaimage(
        path, ".mhd", packed=False, data="/etc/hostname"
    ),
    "header_of_a_list": lambda path: metaimage(
        path, ".mhd", packed=False, data=f"LIST\n{_beside(path).name}"
    ),
    "header_of_a_pattern": lambda path: metaimage(
        path, ".mhd", packed=False, data=f"{_beside(path).stem}%.raw 1 1 1"
    ),
    "header_of_two_files": lambda path: metaimage(
        path,
        ".mhd",
        packed=False,
        equals=":",
        data=f"{_outside(path)}\nElementDataFile = {_beside(path).name}",
    ),
    "header_of_a_pipe": lambda path: metaimage(
        path, ".mhd", packed=False, data=_pipe(with_suffix(path, ".raw")).name
    ),
    "header_of_nothing": lambda path: metaimage(path, ".mhd", packed=False, data="absent.raw"),
    "header_of_a_link": lambda path: metaimage(path, ".mhd", packed=False, data=_linked(path).name),
}


def _outside(path: Path) -> str:
    """Return a file of the right length outside the dataset's folder."""
    file = path.parents[2] / "outside.raw"
    file.write_bytes(pixels().tobytes())
    return str(file)


def _beside(path: Path) -> Path:
    file = with_suffix(path, ".raw")
    file.write_bytes(pixels().tobytes())
    return file


def _linked(path: Path) -> Path:
    file = with_suffix(path, ".raw")
    file.symlink_to(_outside(path))
    return file


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


for _suffix in (".png", ".tif", ".mha", ".mhd", ".nii.gz", ".npy", ".dcm", ".hdr"):
    MAKERS[f"pipe{_suffix}"] = lambda path, suffix=_suffix: _pipe(with_suffix(path, suffix))
    MAKERS[f"empty{_suffix}"] = lambda path, suffix=_suffix: with_suffix(path, suffix).touch()
    MAKERS[f"text{_suffix}"] = lambda path, suffix=_suffix: with_suffix(path, suffix).write_text(
        "<html>404 Not Found</html>\n" * 40, encoding="utf-8"
    )
    MAKERS[f"noise{_suffix}"] = lambda path, suffix=_suffix: with_suffix(path, suffix).write_bytes(
        np.random.default_rng(len(suffix)).bytes(3000)
    )
    MAKERS[f"lost_link{_suffix}"] = lambda path, suffix=_suffix: with_suffix(
        path, suffix
    ).symlink_to("nothing")

# TIFF


def tiff(path: Path, **options: Any) -> Path:
    file = with_suffix(path, ".tif")
    tifffile.imwrite(file, pixels(), photometric="minisblack", **options)
    return file


def _next_page(file: Path, page: int) -> int:
    """Return where a TIFF says where its next page is."""
    with tifffile.TiffFile(file) as opened:
        begin = opened.pages[page].offset
    entries = struct.unpack_from("<H", file.read_bytes(), begin)[0]
    return int(begin + 2 + 12 * entries)


@maker
def tiff_whose_page_follows_itself(path: Path) -> None:
    file = tiff(path)
    place = _next_page(file, 0)
    first = struct.unpack_from("<I", file.read_bytes(), 4)[0]
    changed(file, lambda content: struct.pack_into("<I", content, place, first))


@maker
def tiff_whose_pages_lead_back(path: Path) -> None:
    file = with_suffix(path, ".tif")
    tifffile.imwrite(file, np.stack([pixels(), pixels()]), photometric="minisblack")
    place = _next_page(file, 1)
    first = struct.unpack_from("<I", file.read_bytes(), 4)[0]
    changed(file, lambda content: struct.pack_into("<I", content, place, first))


@maker
def tiff_whose_next_page_is_nowhere(path: Path) -> None:
    file = tiff(path)
    place = _next_page(file, 0)
    changed(file, lambda content: struct.pack_into("<I", content, place, 1 << 31))


def _at(file: Path, tag: str) -> int:
    with tifffile.TiffFile(file) as opened:
        return int(opened.pages[0].tags[tag].valueoffset)


@maker
def tiff_that_inflates(path: Path) -> None:
    file = tiff(path, compression="zlib")
    places = [_at(file, tag) for tag in ("StripOffsets", "StripByteCounts")]
    data = zlib.compress(bytes(64 * MB), 9)

    def swap(content: bytearray) -> None:
        struct.pack_into("<I", content, places[0], len(content))
        struct.pack_into("<I", content, places[1], len(data))
        content.extend(data)

    changed(file, swap)


@maker
def tiff_of_absurd_channels(path: Path) -> None:
    file = tiff(path)
    places = [_at(file, tag) for tag in ("SamplesPerPixel", "ImageWidth", "ImageLength")]

    def swell(content: bytearray) -> None:
        for place, value in zip(places, (65535, 8000, 8000), strict=True):
            struct.pack_into("<H", content, place, value)

    changed(file, swell)


@maker
def truncated_tiff(path: Path) -> None:
    cut(tiff(path, compression="zlib"), 0.5)


# Pictures


def picture(path: Path, suffix: str, **options: Any) -> Path:
    file = with_suffix(path, suffix)
    Image.fromarray(pixels() * 200).resize((560, 400)).save(file, **options)
    return file


MAKERS |= {
    "truncated_png": lambda path: cut(picture(path, ".png"), 0.5),
    "truncated_jpeg": lambda path: cut(picture(path, ".jpg"), 0.5),
    "truncated_bmp": lambda path: cut(picture(path, ".bmp"), 0.5),
    "truncated_gif": lambda path: cut(picture(path, ".gif"), 0.3),
    "animated_gif": lambda path: picture(
        path, ".gif", save_all=True, append_images=[Image.new("L", (560, 400), 7)]
    ),
}


@maker
def damaged_png(path: Path) -> None:
    changed(picture(path, ".png"), lambda content: content.__setitem__(slice(60, 160), bytes(100)))


@maker
def png_of_absurd_sides(path: Path) -> None:
    def swell(content: bytearray) -> None:
        struct.pack_into(">II", content, 16, 60000, 60000)
        struct.pack_into(">I", content, 29, zlib.crc32(bytes(content[12:29])))

    changed(picture(path, ".png"), swell)


@maker
def png_whose_text_inflates(path: Path) -> None:
    text = b"Comment\0\0" + zlib.compress(bytes(64 * MB))
    check = struct.pack(">I", zlib.crc32(b"zTXt" + text))
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + check
    changed(picture(path, ".png"), lambda content: content.__setitem__(slice(33, 33), chunk))


# NumPy


def _array_header(file: Path, sides: tuple[int, ...]) -> int:
    header = io.BytesIO()
    known = {"descr": "|u1", "fortran_order": False, "shape": sides}
    np.lib.format.write_array_header_1_0(header, known)
    file.write_bytes(header.getvalue())
    return len(header.getvalue())


@maker
def numpy_that_says_too_much(path: Path) -> None:
    _array_header(with_suffix(path, ".npy"), (8000, 8000))


@maker
def numpy_that_is_too_large(path: Path) -> None:
    file = with_suffix(path, ".npy")
    begins = _array_header(file, (20000, 20000))
    os.truncate(file, begins + 20000 * 20000)


@maker
def archive_of_numpy(path: Path) -> None:
    with with_suffix(path, ".npy").open("wb") as file:
        np.savez(file, a=pixels())


# DICOM


def dicom(path: Path, syntax: Any = ExplicitVRLittleEndian, **fields: Any) -> Path:
    file = with_suffix(path, ".dcm")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = syntax
    film = FileDataset(str(file), {}, file_meta=meta, preamble=bytes(128))
    usual = {
        "Rows": HEIGHT,
        "Columns": WIDTH,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PixelData": pixels().tobytes(),
    }
    for name, value in {**usual, **fields}.items():
        setattr(film, name, value)
    film.save_as(file, enforce_file_format=True)
    return file


MAKERS |= {
    "dicom_of_absurd_sides": lambda path: dicom(path, Rows=60000, Columns=60000),
    "truncated_dicom": lambda path: cut(dicom(path), 0.7),
    "damaged_deflated_dicom": lambda path: changed(
        dicom(path, DeflatedExplicitVRLittleEndian),
        lambda content: content.__setitem__(slice(-60, -40), bytes(20)),
    ),
    "dicom_of_several_frames": lambda path: dicom(path, NumberOfFrames=3),
    "dicom_without_pixels": lambda path: dicom(path, PixelData=b""),
}

# What no reader is known for

MAKERS |= {
    "nrrd": lambda path: with_suffix(path, ".nrrd").write_bytes(b"NRRD0004\nsizes: 56 40\n\nx"),
    "nhdr": lambda path: with_suffix(path, ".nhdr").write_bytes(b"NRRD0004\ndata file: /etc\n\n"),
    "webp": lambda path: with_suffix(path, ".webp").write_bytes(b"RIFF"),
    "zip": lambda path: with_suffix(path, ".zip").write_bytes(b"PK\x03\x04"),
    "no_suffix": lambda path: path.write_bytes(b"x"),
}

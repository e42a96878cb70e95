"""DICOM: what is bright on a screen is bright here, in any encoding of grey values."""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import (
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from bench.data.readers import dicom
from bench.data.readers.picture import Picture, luminance, onto
from bench.spec.errors import UsageError

SHOWN = np.random.default_rng(3).integers(0, 200, (6, 5))
"""Brightness on the screen."""


def film(stored: np.ndarray, **fields: Any) -> Dataset:
    """Return a film of one frame with other fields."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.Rows, data.Columns = stored.shape[-2:] if stored.ndim == 2 else stored.shape[:2]
    data.SamplesPerPixel = 1 if stored.ndim == 2 else 3
    data.PhotometricInterpretation = "MONOCHROME2" if stored.ndim == 2 else "RGB"
    data.BitsAllocated = data.BitsStored = 8 * stored.dtype.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(stored.dtype.kind == "i")
    if stored.ndim == 3:
        data.PlanarConfiguration = 0
    for name, value in fields.items():
        setattr(data, name, value)
    data.PixelData = stored.tobytes()
    return data


def read(data: Dataset, labels: bool = False) -> Picture:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.dcm"
        data.save_as(path, enforce_file_format=True)
        return dicom.read(path, labels)


def rises(values: np.ndarray) -> bool:
    """Return whether values grow strictly with brightness."""
    order = np.argsort(SHOWN, axis=None, kind="stable")
    steps, rise = np.diff(SHOWN.ravel()[order]), np.diff(values.astype(float).ravel()[order])
    return bool((rise[steps > 0] > 0).all() and (rise[steps == 0] == 0).all())


@settings(max_examples=60, deadline=None)
@given(
    inverse=st.booleans(),
    slope=st.sampled_from([1, 2, -1, -0.5]),
    intercept=st.integers(-1024, 1024),
    signed=st.booleans(),
    window=st.booleans(),
    shape=st.booleans(),
    packed=st.booleans(),
)
def test_brightness_is_kept_by_any_encoding(
    inverse: bool,
    slope: float,
    intercept: int,
    signed: bool,
    window: bool,
    shape: bool,
    packed: bool,
) -> None:
    values = 200 - SHOWN if inverse else SHOWN
    stored = values if slope > 0 else 300 - values
    fields: dict[str, Any] = {"RescaleSlope": str(slope), "RescaleIntercept": str(intercept)}
    fields["PhotometricInterpretation"] = "MONOCHROME1" if inverse else "MONOCHROME2"
    if shape:
        fields["PresentationLUTShape"] = "INVERSE" if inverse else "IDENTITY"
    if window:
        rescaled = stored * slope + intercept
        fields["WindowCenter"] = str(int(rescaled.mean()))
        fields["WindowWidth"] = str(3000)
    data = film(stored.astype(np.int16 if signed else np.uint16), **fields)
    if packed:
        data.compress(RLELossless)
    assert rises(read(data).values)


def test_a_lut_that_inverts_is_applied() -> None:
    item = Dataset()
    item.LUTDescriptor = [256, 0, 16]
    item.LUTData = (np.arange(255, -1, -1) * 257).astype(np.uint16).tobytes()
    data = film((255 - SHOWN).astype(np.uint16), VOILUTSequence=pydicom.Sequence([item]))
    assert rises(read(data).values)
    modality = film((255 - SHOWN).astype(np.uint16))
    item.ModalityLUTType = "US"
    modality.ModalityLUTSequence = pydicom.Sequence([item])
    assert rises(read(modality).values)
    assert "polarity: modality LUT" in read(modality).how


def test_a_slope_of_0_is_named() -> None:
    data = film(SHOWN.astype(np.uint8), RescaleSlope=0, RescaleIntercept=0)
    with pytest.raises(UsageError, match="its RescaleSlope is 0, which leaves one grey value"):
        read(data)


def test_a_palette_is_read_by_its_colours() -> None:
    table = (np.arange(255, -1, -1) * 257).astype(np.uint16)
    look = {}
    for colour in ("Red", "Green", "Blue"):
        look[f"{colour}PaletteColorLookupTableData"] = table.tobytes()
        look[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
    data = film((255 - SHOWN).astype(np.uint8), PhotometricInterpretation="PALETTE COLOR", **look)
    assert rises(luminance(read(data)))


def test_colours_of_either_order_are_read() -> None:
    grey = np.repeat(SHOWN.astype(np.uint8)[..., None], 3, 2)
    assert rises(luminance(read(film(grey))))
    by_plane = film(grey, PlanarConfiguration=1)
    by_plane.PixelData = np.ascontiguousarray(np.moveaxis(grey, 2, 0)).tobytes()
    assert rises(luminance(read(by_plane)))


def test_padding_is_no_part_of_the_picture() -> None:
    stored = SHOWN.astype(np.int16)
    stored[:, 0] = -2000
    picture = read(film(stored, PixelPaddingValue=-2000))
    assert picture.padding is not None
    assert picture.padding[:, 0].all()
    assert not picture.padding[:, 1:].any()


def test_spacing_is_of_rows_then_columns_and_its_source_is_told() -> None:
    stored = SHOWN.astype(np.uint8)
    assert read(film(stored, PixelSpacing=[0.5, 0.25])).spacing == (0.5, 0.25)
    detector = read(film(stored, ImagerPixelSpacing=[0.2, 0.1]))
    assert detector.spacing == (0.2, 0.1)
    told = "assumed: spacing is that at the detector (ImagerPixelSpacing), larger than in the body"
    assert told in detector.how
    assert read(film(stored)).spacing is None
    assert read(film(stored, PixelSpacing=[0, 0])).spacing is None
    sides = {"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.2, 0.2]}
    told = "assumed: spacing is that at the detector (PixelSpacing), larger than in the body"
    assert told in read(film(stored, **sides)).how
    calibrated = read(film(stored, **sides, PixelSpacingCalibrationType="FIDUCIAL"))
    assert "spacing: DICOM PixelSpacing" in calibrated.how
    with pytest.raises(UsageError, match="gives pixels of 700 x 700 mm, expected less than 100"):
        read(film(stored, PixelSpacing=[700, 700]))


@pytest.mark.parametrize(
    ("fields", "labels", "message"),
    [
        ({"NumberOfFrames": 2}, False, "holds 2 frames, expected one image"),
        (
            {"PhotometricInterpretation": "MONOCHROME1"},
            True,
            "is a mask whose labels are shown otherwise",
        ),
        ({"WindowCenter": "9000", "WindowWidth": "2"}, False, "leaves one grey value"),
        ({"WindowCenter": "100", "WindowWidth": "1"}, False, "leaves black and white alone"),
    ],
)
def test_what_is_not_one_picture_is_refused(
    fields: dict[str, Any], labels: bool, message: str
) -> None:
    stored = SHOWN.astype(np.uint8)
    data = film(stored, **fields)
    if "NumberOfFrames" in fields:
        data.PixelData = stored.tobytes() * 2
    with pytest.raises(UsageError, match=message):
        read(data, labels)


def test_values_that_the_stored_bits_cannot_hold_are_refused() -> None:
    stored = (50 * SHOWN).astype(np.uint16)
    data = film(stored, BitsStored=12, HighBit=11)
    data.file_meta.TransferSyntaxUID = JPEGLSLossless
    data.PixelData = encapsulate([imagecodecs.jpegls_encode(stored)])
    data["PixelData"].VR = "OB"
    with pytest.raises(UsageError, match="which 12 bits"):
        read(data)


def test_jpeg_2000_is_read_unless_its_sign_contradicts_the_header() -> None:
    stored = SHOWN.astype(np.uint16)
    packed = io.BytesIO()
    Image.fromarray(stored).save(packed, "JPEG2000", no_jp2=True, irreversible=False)
    data = film(stored)
    data.file_meta.TransferSyntaxUID = JPEG2000Lossless
    data.PixelData = encapsulate([packed.getvalue()])
    data["PixelData"].VR = "OB"
    assert rises(read(data).values)
    data.PixelRepresentation = 1
    with pytest.raises(UsageError, match="says the opposite"):
        read(data)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"RescaleSlope": "-1"}, "has one of RescaleSlope and RescaleIntercept"),
        (
            {"ImageOrientationPatient": [1, 0, 0, 0.6, 0.8, 0], "ImagePositionPatient": [0, 0, 0]},
            "is no rotation",
        ),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read(film(SHOWN.astype(np.uint8), **fields))


@pytest.mark.parametrize("model", ["HSV", "YBR_PARTIAL_420", "YBR_ICT"])
def test_colours_that_nothing_decodes_are_refused(model: str) -> None:
    colours = np.repeat(SHOWN.astype(np.uint8)[..., None], 3, 2)
    with pytest.raises(UsageError, match=f"the colour model {model}"):
        read(film(colours, PhotometricInterpretation=model))


def test_a_place_is_compared_where_the_spacing_is_unknown() -> None:
    place = {"ImageOrientationPatient": [-1, 0, 0, 0, 1, 0], "ImagePositionPatient": [4, 0, 0]}
    picture = read(film(SHOWN.astype(np.uint8), **place))
    assert picture.spacing is None
    assert picture.corners is not None


def palette(stored: np.ndarray, *colours: tuple[int, int, int]) -> Dataset:
    """Return a film of a palette of 16 bits."""
    data = film(stored, PhotometricInterpretation="PALETTE COLOR")
    for place, name in enumerate(("Red", "Green", "Blue")):
        table = np.array([colour[place] for colour in colours], np.uint16)
        setattr(data, f"{name}PaletteColorLookupTableDescriptor", [len(table), 0, 16])
        setattr(data, f"{name}PaletteColorLookupTableData", table.tobytes())
    return data


@pytest.mark.parametrize("step", [1, 257])
def test_a_palette_may_hold_8_bits_in_16(step: int) -> None:
    stored = np.array([[0, 1], [1, 2]], np.uint8)
    colours = [(0, 0, 0), (200 * step, 0, 0), (255 * step, 255 * step, 255 * step)]
    values = read(palette(stored, *colours), labels=True).values
    assert values[:, :, 0].tolist() == [[0, 200], [200, 255]]
    assert values.dtype == np.uint8


def test_labels_that_8_bits_cannot_tell_apart_are_refused() -> None:
    stored = np.array([[0, 1], [1, 2]], np.uint8)
    data = palette(stored, (0, 0, 0), (0x8010, 0, 0), (0x80F0, 0, 0))
    with pytest.raises(UsageError, match="colours of 16 bits that are equal in 8"):
        read(data, labels=True)
    assert read(data).values.shape == (2, 2, 3)


def test_compression_with_loss_is_known() -> None:
    flat = np.zeros((16, 16), np.uint8)
    flat[:8] = 255
    packed = io.BytesIO()
    Image.fromarray(flat).save(packed, "JPEG", quality=95)
    data = film(flat)
    data.PixelData = encapsulate([packed.getvalue()])
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    assert read(data, labels=True).lossy
    assert read(film(flat, LossyImageCompression="01"), labels=True).lossy
    assert not read(film(flat), labels=True).lossy


def test_a_compression_that_nothing_decodes_is_named() -> None:
    data = film(SHOWN.astype(np.uint8))
    data.PixelData = encapsulate([b"nothing"])
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = HTJ2KLossless
    with pytest.raises(UsageError, match=r"as High-Throughput JPEG 2000 .* export it without"):
        read(data)


def test_pixels_that_are_no_squares_of_unknown_size_are_told() -> None:
    picture = read(film(SHOWN.astype(np.uint8), PixelAspectRatio=[2, 1]))
    assert picture.spacing is None
    assert any("assumed: pixels are 2 : 1 high and wide" in line for line in picture.how)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"PixelSpacing": [-0.5, 0.5]}, "PixelSpacing is -0.5, 0.5; expected mm"),
        ({"PixelSpacing": "0.5"}, "PixelSpacing is 0.5; expected mm"),
        ({"PixelSpacing": [0.5, 0.5, 1]}, "PixelSpacing is 0.5, 0.5, 1; expected mm"),
        ({"RescaleSlope": "", "RescaleIntercept": "0"}, "RescaleSlope is empty"),
        ({"BitsStored": None}, "has no BitsStored, which says how its pixels are read"),
        ({"PhotometricInterpretation": ""}, "has no PhotometricInterpretation"),
    ],
)
def test_what_a_header_lacks_is_named(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read(film(SHOWN.astype(np.uint8), **fields))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PixelSpacing", b"0,8\\0,5 "),
        ("RescaleSlope", b"1,5 "),
        ("WindowCenter", b"nan "),
        ("ImagePositionPatient", b"nan\\0\\0 "),
    ],
)
def test_a_text_that_is_no_number_is_named(name: str, value: bytes) -> None:
    """It was told as a message of NumPy, with the advice to copy the file again."""
    data = film(SHOWN.astype(np.uint8), RescaleSlope="1", RescaleIntercept="0", WindowWidth="9")
    tag = Tag(name)
    data._dict[tag] = RawDataElement(tag, "DS", len(value), value, 0, False, True)
    shown = re.escape(value.decode().strip())
    with pytest.raises(UsageError, match=f"{name} is {shown}, expected numbers; correct it"):
        read(data)


def test_a_way_to_apply_a_window_that_is_unknown_is_named() -> None:
    window = {"WindowCenter": "9", "WindowWidth": "9", "VOILUTFunction": "CUBIC"}
    with pytest.raises(UsageError, match="VOILUTFunction is CUBIC, expected LINEAR"):
        read(film(SHOWN.astype(np.uint8), **window))


AXIAL = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}


@pytest.mark.parametrize(
    ("image", "mask", "fits"),
    [
        ({"PatientOrientation": ["L", "F"]}, {"PatientOrientation": ["L", "FP"]}, True),
        ({"PatientOrientation": ["L", "F"]}, {"PatientOrientation": ["R", "F"]}, False),
        ({"PatientOrientation": ["L", "F"]}, {"PatientOrientation": ["L", "H"]}, False),
        ({"PatientOrientation": ["A", "F"]}, {"PatientOrientation": ["F", "A"]}, False),
        ({"PatientOrientation": ["L", "P"]}, AXIAL, True),
        ({"PatientOrientation": ["R", "P"]}, AXIAL, False),
        ({"PatientOrientation": ["L", "F"]}, {"PatientOrientation": ["D", "CR"]}, True),
        ({"PatientOrientation": ["L", "F"]}, {}, True),
    ],
)
def test_a_mask_that_leads_elsewhere_is_refused_where_no_place_is_known(
    image: dict[str, Any], mask: dict[str, Any], fits: bool
) -> None:
    stored = SHOWN.astype(np.uint8)
    pictures = read(film(stored, **image)), read(film(stored, **mask), labels=True)
    if fits:
        np.testing.assert_array_equal(onto(*pictures, Path("i"), Path("m"))[0].values, stored)
        return
    with pytest.raises(UsageError, match="m is turned or mirrored against i by its header"):
        onto(*pictures, Path("i"), Path("m"))


def test_a_place_in_mm_is_not_compared_with_one_in_pixels() -> None:
    stored = SHOWN.astype(np.uint8)
    place: dict[str, Any] = {**AXIAL}
    image = read(film(stored, ImagePositionPatient=[0, 0, 0], PixelSpacing=[0.5, 0.5], **place))
    near = read(film(stored, ImagePositionPatient=[0, 0, 0], **place), labels=True)
    np.testing.assert_array_equal(onto(image, near, Path("i"), Path("m"))[0].values, stored)
    far = read(film(stored, ImagePositionPatient=[0, 9, 0], **place), labels=True)
    with pytest.raises(UsageError, match="m begins 9 mm from i"):
        onto(image, far, Path("i"), Path("m"))

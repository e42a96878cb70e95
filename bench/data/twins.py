"""What two patients share, so that they may be one: an image, nearly an image, or nearly a name."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.spec.case import Case, Dataset

MOST = 1000
"""Pairs of identical images that are kept."""
FEW = 3
"""Groups of names that are listed."""
NEAR = 4
"""Images may be nearly identical if their hashes differ in at most so many of 64 bits."""
PARTS = NEAR + 2
"""Hashes that differ in at most `NEAR` bits agree in two of so many parts."""
HASHED, KEPT = 32, 8
"""Side at which images are hashed, and that of the lowest frequencies which make the hash."""
COMPARED = 96
"""Side at which details of two images are compared."""
ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1).astype(np.uint8)
"""How many bits each byte has."""
FINE, WIDE = 2.0, 6.0
"""Details are what a blur of `FINE` pixels removes, relative to their size within `WIDE` pixels."""
FAINT = 0.05
"""Details smaller than this share of an image's contrast are noise."""
SAME = 0.9
"""Least correlation of the details of two images that are called nearly identical. Measured: copies
that were halved, brightened, saved as JPEG of quality 60 or made noisy have 0.98 and more, drawn
eyes 0.68 at most, MR slices of two patients 0.25."""

_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
_DECIMALS = re.compile(r"(?<=\d)\.0+$")
"""What programs append to numbers where a column lacks one of them: `7.0`."""
NOBODY = frozenset(
    {
        *(
            "",
            "anon",
            "anonym",
            "anonyme",
            "anonymised",
            "anonymized",
            "anonymous",
            "k a",
            "missing",
        ),
        *("n a", "na", "nan", "nil", "no name", "none", "not available", "null", "pending", "tbd"),
        *("unassigned", "undefined", "unk", "unknown"),
        *("unbekannt", "inconnu", "desconocido", "desconocida", "desconhecido", "sconosciuto"),
        *("\u672a\u77e5", "\u533f\u540d", "\u4e0d\u660e"),  # unknown and anonymous
        *("\u043d\u0435\u0438\u0437\u0432\u0435\u0441\u0442\u043d\u043e",),
    }
)
"""What people and programs write in the place of a patient whom nobody knows; "" is of signs."""
LOOK_ALIKES = str.maketrans(
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u03b1\u03b2\u03b5\u03ba\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7",
    "abekmhopctyxabekvoptyx",
)
"""Small Cyrillic and Greek letters, and the Latin ones that they look like, also as capitals."""
SPELLED = (("\u00e4", "ae"), ("\u00f6", "oe"), ("\u00fc", "ue"), ("\u00df", "ss"), ("\u00f8", "oe"))
"""Letters of German and Danish, and how keyboards without them spell these."""
DIGITS = str.maketrans("o", "0")
"""The letter that is taken for a digit."""
_HAS_DIGIT = re.compile(r"\d")
_SEPARATORS = re.compile(r"[-_./\s]+")
_NO_LETTERS = re.compile(r"[\W_]+")
_BLANKS = re.compile(r"[\s\u200b-\u200d\u2060\ufeff]+")


def mark(*pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """Return a digest of arrays and their shapes: equal images have equal ones."""
    digest = sha256()
    for part in pixels:
        digest.update(repr((part.shape, part.dtype.str)).encode())
        digest.update(np.ascontiguousarray(part).data)
    return digest.digest()


def identical(cases: Sequence[Case], marks: Sequence[bytes]) -> tuple[tuple[str, str], ...]:
    """Return the ids of cases of two patients whose images are the same, a pair each."""
    groups: dict[bytes, list[Case]] = defaultdict(list)
    pairs: list[tuple[str, str]] = []
    for case, own in zip(cases, marks, strict=True):
        for other in groups[own]:
            if other.patient != case.patient and len(pairs) < MOST:
                pairs.append((other.id, case.id))
        groups[own].append(case)
    return tuple(pairs)


def described(dataset: Dataset, sides: Mapping[str, str]) -> tuple[str, ...]:
    """Return each pair of identical images in words, with the patients and their sides."""
    patients = {case.id: case.patient for case in dataset.cases}
    lines = []
    for pair in dataset.twins:
        names = []
        for case in pair:
            patient = patients[case]
            side = f", {sides[patient]}" if patient in sides else ""
            names.append(f"{case} (patient {patient}{side})")
        lines.append(" and ".join(names))
    return tuple(lines)


def doubted(patients: Sequence[str]) -> tuple[str, ...]:
    """Return what to tell of the patients of cases, one a case, by their names alone."""
    return (*look_alike(patients), *of_nobody(patients))


def of_nobody(patients: Sequence[str]) -> tuple[str, ...]:
    """Return what to tell of cases whose patient nobody may know, such as `nan` or `-`."""
    counts = Counter(patients)
    lines = []
    for name, number in counts.items():
        bare = _NO_LETTERS.sub(" ", unicodedata.normalize("NFC", name)).strip().casefold()
        if number > 1 and bare in NOBODY:
            lines.append(
                f"{name!r} is the name of one patient, with {number} cases; where it says "
                "that nobody knows whose they are, give each patient a name"
            )
    return tuple(lines)


def look_alike(names: Sequence[str], what: str = "patients") -> tuple[str, ...]:
    """Return what to tell of patients, or others, whose names look alike; nothing if none do.

    Names look alike that differ by case, blanks, leading zeros, a `.0` at the end, the
    composition of accents, what separates words, the spelling of umlauts, letters of another
    alphabet, or O for 0.
    """
    names_of: dict[str, dict[str, None]] = defaultdict(dict)
    for one_name in names:
        for seen in (_seen(one_name), _read_aloud(one_name)):
            names_of[seen][one_name] = None
    groups: list[dict[str, None]] = []
    groups_of: dict[str, list[dict[str, None]]] = defaultdict(list)
    for alike_names in sorted(names_of.values(), key=len, reverse=True):
        whole = groups_of[next(iter(alike_names))]
        if len(alike_names) == 1 or any(alike_names.keys() <= group.keys() for group in whole):
            continue
        groups.append(alike_names)
        for name in alike_names:
            groups_of[name].append(alike_names)
    alike = [" and ".join(map(_shown, group)) for group in groups]
    if not alike:
        return ()
    more = f" and {len(alike) - FEW} more such groups" if len(alike) > FEW else ""
    return (
        f"{'; '.join(alike[:FEW])}{more} are different {what}, though they look alike; "
        "write one name where they are one",
    )


def of_one_header(patients: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Return what to tell of patients whose files have one PatientID; nothing where none do.

    Args:
        patients: The patients of the files that have each PatientID. One of all files says nothing,
            as where they were made anonymous.
    """
    groups = [" and ".join(map(_shown, names)) for names in patients.values() if len(names) > 1]
    if not groups or len(patients) == 1:
        return ()
    more = f" and {len(groups) - FEW} more such groups" if len(groups) > FEW else ""
    few = "; ".join(groups[:FEW])
    return (f"{few}{more} are different patients, though DICOM files of theirs have one PatientID",)


def _seen(name: str) -> str:
    """Return what a reader sees of a name, whatever its case, blanks, zeros and `.0` at its end."""
    text = _BLANKS.sub("", unicodedata.normalize("NFKC", name).casefold())
    text = _DECIMALS.sub("", text)
    return _ZEROS.sub("", unicodedata.normalize("NFKC", text))


def _read_aloud(name: str) -> str:
    """Return a name however its words are separated and its letters are typed."""
    text = unicodedata.normalize("NFC", name).casefold()
    for letter, spelling in SPELLED:
        text = text.replace(letter, spelling)
    decomposed = unicodedata.normalize("NFKD", text.translate(LOOK_ALIKES))
    plain = "".join(filter(lambda c: not unicodedata.combining(c), decomposed))
    joined = _SEPARATORS.sub("-", _DECIMALS.sub("", plain)).strip("-")
    return "=" + _ZEROS.sub("", joined.translate(DIGITS) if _HAS_DIGIT.search(joined) else joined)


def _shown(name: str) -> str:
    """Return a name so that its blanks and its letters can be told from others."""
    plain = name.isascii() and name.isprintable() and name == name.strip()
    return name if plain else ascii(name)


def near(dataset: Dataset) -> list[tuple[int, int]]:
    """Return the indexes of cases of two patients whose images are nearly identical.

    Hashes choose the pairs, and their details decide.
    """
    cases = dataset.cases
    hashes = np.array([_hash(dataset.image(index)) for index in range(len(cases))], np.uint8)
    details = lru_cache(maxsize=512)(lambda index: _details(dataset.image(index)))
    same = {frozenset(pair) for pair in dataset.twins}
    pairs = []
    for first, second in _close(hashes):
        if cases[first].patient == cases[second].patient:
            continue
        if frozenset((cases[first].id, cases[second].id)) in same:
            continue
        if float((details(first) * details(second)).sum()) >= SAME:
            pairs.append((first, second))
    return pairs


def _hash(image: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return 64 bits of an image (H, W): which low frequencies are above their median."""
    small = cv2.resize(image, (HASHED, HASHED), interpolation=cv2.INTER_AREA)
    low = np.asarray(cv2.dct(small.astype(np.float32)))[:KEPT, :KEPT].ravel()
    bits: NDArray[np.uint8] = (low > np.median(low)).astype(np.uint8)
    return bits


def _close(bits: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of hashes (n, 64) that differ in at most `NEAR` bits, in ascending order.

    Two such hashes agree in two of `PARTS` parts, so only those that share two are compared.
    Each part gets bits of every kind: some are the same in nearly all images.
    """
    telling = np.argsort(np.abs(bits.mean(0) - 0.5), kind="stable")
    packed = np.packbits(bits, axis=1)
    pairs: set[tuple[int, int]] = set()
    for one_part, other_part in combinations(range(PARTS), 2):
        places = np.concatenate([telling[one_part::PARTS], telling[other_part::PARTS]])
        numbers = np.packbits(bits[:, places], axis=1)
        bucket = np.unique(numbers, axis=0, return_inverse=True)[1].ravel()
        order = np.argsort(bucket, kind="stable")
        sorted_buckets = bucket[order]
        left = np.arange(len(order))
        for apart in range(1, len(order)):
            left = left[left + apart < len(order)]
            left = left[sorted_buckets[left] == sorted_buckets[left + apart]]
            if not len(left):
                break
            one, other = order[left], order[left + apart]
            near_ones = ONES[packed[one] ^ packed[other]].sum(1) <= NEAR
            pairs.update(zip(one[near_ones].tolist(), other[near_ones].tolist(), strict=True))
    yield from sorted(pairs)


def _details(image: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return an image's details (h, w) with norm 1; edges count no more than what is between."""
    size = (COMPARED, COMPARED)
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)
    fine = small - cv2.GaussianBlur(small, (0, 0), FINE)
    strength = np.sqrt(cv2.GaussianBlur(fine**2, (0, 0), WIDE))
    even = fine / (strength + FAINT * small.std() + 1e-6)
    unit: NDArray[np.float32] = even / max(float(np.linalg.norm(even)), 1e-6)
    return unit

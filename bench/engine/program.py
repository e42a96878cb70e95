"""A cell whose method is trained by its authors' own program: export, run, score, write."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.data import cache
from bench.data.export import Export
from bench.data.readers import masks
from bench.engine import volumes
from bench.engine.energy import Meter
from bench.engine.outside.references import Rules, of_dataset, read_references
from bench.engine.outside.scoring import score_folder
from bench.spec import devices, machine
from bench.spec.case import SIDES, Dataset, Split
from bench.spec.config import Cell
from bench.spec.note import Note, Tell
from bench.spec.plain import convert
from bench.spec.program import Program
from bench.store.cells import Store, keep_labels
from bench.store.layout import CellFolder
from bench.store.plan import split_of
from bench.store.record import CellSpec, External, Joules, Record
from bench.store.scores import write_scores

BEAT = 1.0
"""Seconds between two looks at a program that runs."""
GRACE = 10.0
"""Seconds that a stopped program has to end."""


def run(
    cell: Cell, method: Program, seed: int, store: Store, work: CellFolder, meter: Meter, tell: Tell
) -> None:
    """Run a cell whose method is a program; an interrupted one begins anew.

    Raises:
        RuntimeError: The program failed.
        UsageError: Its answers are no masks of the test cases.
    """
    dataset = cache.load(Path(cell.dataset.cache))
    split = split_of(store, cell, dataset.patients)
    test = split.indexes(dataset, "test")
    shutil.rmtree(work.own, ignore_errors=True)
    answers = work.own / "answers"
    answers.mkdir(parents=True)
    exported = Export(dataset, split, cell.scheme.name).nnunet(work.own)
    shutil.rmtree(exported / "labelsTs")  # the program is not given the test cases' references
    began = time.monotonic()

    def command(words: Sequence[str], environment: Mapping[str, str]) -> None:
        _command(words, environment, lambda: tell(_note(began)))

    method.train(exported.resolve(), answers.resolve(), seed, meter.device, command)
    references = read_references(of_dataset(dataset, test), Rules(), dataset.name)
    side = masks.side(answers, f"{method.title}: its answers")
    rules = Rules(tolerance=cell.profile.nsd_tolerance)
    scored = score_folder(method.title, side, references, rules)
    keys = list(references.targets)
    write_scores(work.cases(), scored.lines(keys))
    scored.write(keys, references, work)
    for index in test:
        image, reference = dataset.image(index), np.asarray(dataset.mask(index))
        store.keep_case(cell, dataset.cases[index].id, image, reference)
        labels = dataset.instances(index)
        if labels is not None:
            keep_labels(work.reference_instances(dataset.cases[index].id), labels)
    if cell.volumes:
        tested_volumes = volumes.stacks(dataset.cases[index] for index in test)
        volumes.write(work, "", tested_volumes, cell.profile.nsd_tolerance)
    shutil.rmtree(work.own)
    external = External(
        kind="program",
        origin="its own program",
        digest=scored.digest(keys),
        remarks=scored.remarks,
    )
    store.finish(cell, _record_of(cell, method, dataset, split, external, meter))


def _record_of(
    cell: Cell, method: Program, dataset: Dataset, split: Split, external: External, meter: Meter
) -> Record:
    """Return the record of a cell of which only the program knows how it trained."""
    cases = {side: split.indexes(dataset, side) for side in SIDES}
    patients = {}
    for name, indexes in cases.items():
        patients[str(name)] = len({dataset.cases[index].patient for index in indexes})
    return Record(
        spec=convert(cell.spec(), CellSpec),
        hash=cell.hash,
        source=cell.dataset.id.source,
        title=method.title,
        summary=cell.profile.summary,
        deviations=method.deviations(cell.profile.batch),
        own_training=True,
        grid="native",
        external=external,
        certificate=None,
        training=None,
        parameters=None,
        idle_parameters=None,
        cases={str(name): len(indexes) for name, indexes in cases.items()},
        patients=patients,
        left_out=len(dataset.left_out),
        assumed=dataset.how,
        official_test=bool(dataset.official) and cell.scheme.takes_official,
        versions=machine.versions(),
        revision=machine.revision(),
        device=devices.name_of(meter.device),
        peak_memory_bytes=None,
        peak_device_memory_bytes=None,
        multiply_adds=None,
        energy_joules=Joules(**meter.joules()),
        timings=None,
    )


def _note(began: float) -> Note:
    """Return the progress of a program, of which nothing but the time is known."""
    return Note(phase="train", step=0, steps=1, seconds=time.monotonic() - began)


def _command(
    words: Sequence[str], environment: Mapping[str, str], beat: Callable[[], None]
) -> None:
    """Run a command to its end; stop it with all that it started where this cell is stopped."""
    print("$", *words, flush=True)
    process = subprocess.Popen(
        list(words),
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # so that `_stop` reaches the processes that it starts
    )
    try:
        while process.poll() is None:
            beat()
            time.sleep(BEAT)
    finally:
        if process.poll() is None:
            _stop(process)
    if process.returncode:
        raise RuntimeError(f"{words[0]} ended with {process.returncode}; log.txt has its output")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a program with the processes that it started."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

from __future__ import annotations

from bench.report.figures import pictures
from bench.store.cells import Store
from tests import written
from tests.report.figures.answers import COLUMN, trained
from tests.written import DICE


def test_the_first_seed_is_shown(store: Store) -> None:
    trained(store.root, "unet", DICE["unet"], "f0-s34", seed=34)
    places = pictures.places(written.table(store))
    seeds = {"unet": 34, "fcn": 35}
    for method, seed in seeds.items():
        cells = [cell for cell, _ in places[COLUMN, method].values()]
        assert {cell.record.spec.seed for cell in cells} == {seed}

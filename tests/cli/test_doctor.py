from __future__ import annotations

import json

from tests.user import Bench


def test_doctor_and_methods_tell(bench: Bench) -> None:
    checks = {check["name"]: check for check in json.loads(bench("doctor", "--json"))}
    assert checks["versions"]["ok"]
    assert "unet" in checks["methods"]["found"]
    rows = {row["name"]: row for row in json.loads(bench("methods", "--json"))}
    assert rows["unet"]["options"]["width"]["default"] == 64
    assert not rows["smp"]["in_all"]

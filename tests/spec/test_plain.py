from __future__ import annotations

import pytest

from bench.spec.plain import canonical


def test_canonical_json_has_one_form() -> None:
    assert canonical({"b": 1.0, "a": [True, None]}) == '{"a":[true,null],"b":1.0}'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical(float("nan"))

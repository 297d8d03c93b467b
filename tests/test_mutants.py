"""The list of slips that the protocol's tests have to notice: it does not rot."""

from pathlib import Path

import pytest
from mutants import FAULTS, ROOT, rotten


@pytest.mark.parametrize("test", FAULTS)
def test_every_slip_can_be_put_in_and_is_noticed_by_a_test_that_exists(test: str) -> None:
    path, _, name = test.partition("::")
    assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")
    assert not [fault for fault in FAULTS[test] if rotten(fault) or fault.old == fault.new]


def test_a_slip_that_no_longer_fits_is_found_out() -> None:
    fault = next(iter(FAULTS.values()))[0]
    assert rotten(fault._replace(old="no such line")) and rotten(fault._replace(path=str(Path("no") / "file.py")))

"""SAIF files."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmfree.errors import InputError
from sim.power.saif import NetToggles, read_saif

TEXT = r"""// Generated
(SAIFILE
(SAIFVERSION "2.0")
(TIMESCALE 1ps)
(DURATION 5000)
 (INSTANCE top
  (NET
   (clk (T0 1) (T1 1) (TZ 0) (TX 0) (TB 0) (TC 10))
   (word\[0\] (T0 1) (T1 20) (TZ 0) (TX 0) (TB 0) (TC 3))
   (word\[1\] (T0 1) (T1 300) (TZ 0) (TX 0) (TB 0) (TC 4))
  )
  (INSTANCE inner$1
   (NET
    (word\[0\] (T0 1) (T1 1) (TZ 0) (TX 0) (TB 0) (TC 7))
    (register\$2 (T0 1) (T1 1) (TZ 0) (TX 0) (TB 0) (TC 2))
   )
  )
  (INSTANCE other
   (NET
    (array\[1\]\[0\] (T0 1) (T1 1) (TZ 0) (TX 0) (TB 0) (TC 1))
   )
  )
 )
)
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "dump.saif"
    path.write_text(text)
    return path


def test_nets_by_instance_with_their_bits_together(tmp_path: Path) -> None:
    duration, nets = read_saif(write(tmp_path, TEXT))
    assert duration == 5000
    assert nets == [
        NetToggles(("top",), "clk", 1, 10, 1),
        NetToggles(("top",), "word", 2, 7, 320),
        NetToggles(("top", "inner$1"), "word", 1, 7, 1),
        NetToggles(("top", "inner$1"), "register$2", 1, 2, 1),
        NetToggles(("top", "other"), "array", 1, 1, 1),
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [("(TIMESCALE 1ps)", "(TIMESCALE 1ns)"), ("(DURATION 5000)", ""), (" )\n)\n", "")],
)
def test_what_is_not_whole_saif_is_refused(tmp_path: Path, before: str, after: str) -> None:
    with pytest.raises(InputError, match="SAIF"):
        read_saif(write(tmp_path, TEXT.replace(before, after)))

"""What a build says of itself: read when it is whole, refused in one line when it is not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hdl.toolchain.built import read_built
from hdl.toolchain.counts import ROUTED, SYNTHESIZED, Count
from mmfree.errors import InputError
from tests.support.sim.shapes import ODD

DESCRIPTION: dict[str, Any] = {
    "device": {"device": "LFE5U-85F", "package": "CABGA381", "speed": 6},
    "tape_sha256": "ab",
    "design": ODD.design().to_dict(),
    "clock_hz": 166.7e6,
    "pll_hz": 100e6,
    "utilisation": {
        "TRELLIS_COMB": [6760, 83640],
        "TRELLIS_FF": [5405, 83640],
        "DP16KD": [5, 208],
    },
    "counts": {"synthesized": {"luts": 6000, "flip_flops": 5400, "ram_blocks": 5}},
}


def write(folder: Path, values: object) -> Path:
    (folder / "build.json").write_text(json.dumps(values))
    return folder


def test_a_build_has_two_clocks_and_two_counts(tmp_path: Path) -> None:
    found = read_built(write(tmp_path, DESCRIPTION))
    assert (found.pll_hz, found.routed_hz) == (100e6, 166.7e6)
    assert (found.device, found.tape_sha256, found.design) == ("LFE5U-85F", "ab", ODD.design())
    assert found.counts == (
        Count(way=SYNTHESIZED, luts=6000, flip_flops=5400, ram_blocks=5),
        Count(way=ROUTED, luts=6760, flip_flops=5405, ram_blocks=5),
    )
    assert found.routed.luts == 6760


def test_a_build_from_before_its_cells_were_counted_twice(tmp_path: Path) -> None:
    values = {name: value for name, value in DESCRIPTION.items() if name != "counts"}
    assert [count.way for count in read_built(write(tmp_path, values)).counts] == [ROUTED]


def changed(path: str, value: object) -> dict[str, Any]:
    """DESCRIPTION with another value at a path of keys; ... takes it out."""
    values: dict[str, Any] = json.loads(json.dumps(DESCRIPTION))
    *folders, name = path.split(".")
    inner = values
    for folder in folders:
        inner = inner[folder]
    if value is ...:
        del inner[name]
    else:
        inner[name] = value
    return values


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("pll_hz", ..., "pll_hz must be a frequency in Hz, got None"),
        ("pll_hz", "100e6", "pll_hz must be a frequency in Hz, got '100e6'"),
        ("pll_hz", True, "pll_hz must be a frequency in Hz, got True"),
        ("pll_hz", 0, "pll_hz must be a frequency in Hz, got 0"),
        ("pll_hz", 1e-300, "pll_hz must be a frequency in Hz, got 1e-300"),
        ("clock_hz", [], "clock_hz must be a frequency in Hz, got []"),
        ("clock_hz", -1.0, "clock_hz must be a frequency in Hz, got -1.0"),
        ("clock_hz", 1e300, "clock_hz must be a frequency in Hz, got 1e+300"),
        ("device", "LFE5U-85F", "device.device must be a string, got None"),
        ("device.device", 1, "device.device must be a string, got 1"),
        ("tape_sha256", 1, "tape_sha256 must be a string, got 1"),
        ("utilisation", ..., "utilisation must be an object, got None"),
        ("utilisation.TRELLIS_FF", ..., "utilisation.TRELLIS_FF must be [used, available]"),
        ("utilisation.DP16KD", [1, 2, 3], "utilisation.DP16KD must be [used, available]"),
        ("utilisation.DP16KD", [1.5, 208], "utilisation.DP16KD must be a number of cells, got 1.5"),
        ("utilisation.DP16KD", [-1, 208], "utilisation.DP16KD must be a number of cells, got -1"),
        ("utilisation.DP16KD", [209, 208], "utilisation.DP16KD uses 209 of 208"),
        ("counts", 3, "counts.synthesized must be an object, got None"),
        ("counts.synthesized", ..., "counts.synthesized must be an object, got None"),
        ("counts.synthesized.luts", None, "counts.synthesized.luts must be a number of cells"),
        ("counts.synthesized.luts", ..., "counts.synthesized.luts must be a number of cells"),
        ("counts.synthesized.flip_flops", -1, "counts.synthesized.flip_flops must be a number"),
        (
            "counts.synthesized.ram_blocks",
            1 << 40,
            "counts.synthesized.ram_blocks must be a number",
        ),
        ("utilisation.TRELLIS_COMB", [True, 5], "utilisation.TRELLIS_COMB must be a number of"),
        ("utilisation.TRELLIS_COMB", [1, 1 << 40], "utilisation.TRELLIS_COMB must be a number of"),
        ("utilisation.TRELLIS_COMB", (5,), "utilisation.TRELLIS_COMB must be [used, available]"),
        ("utilisation.TRELLIS_FF", [6, 5], "utilisation.TRELLIS_FF uses 6 of 5"),
        ("pll_hz", 0.99, "pll_hz must be a frequency in Hz, got 0.99"),
        ("pll_hz", 10_000_000_001, "pll_hz must be a frequency in Hz, got 10000000001"),
    ],
)
def test_what_is_damaged_or_of_another_version_is_named(
    tmp_path: Path, path: str, value: object, message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as error:
        read_built(write(tmp_path, changed(path, value)))
    assert str(error.value).startswith(f"{tmp_path / 'build.json'}: ")
    assert str(error.value).endswith("build the tape again")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("pll_hz", 1),
        ("clock_hz", 1e10),
        ("utilisation.DP16KD", [208, 208]),
        ("utilisation.DP16KD", [0, 0]),
        ("counts.synthesized.luts", (1 << 40) - 1),
        ("counts.synthesized.ram_blocks", 0),
    ],
)
def test_the_largest_and_the_smallest_are_read(tmp_path: Path, path: str, value: object) -> None:
    found = read_built(write(tmp_path, changed(path, value)))
    assert isinstance(found.pll_hz, float)
    assert found.routed == found.counts[-1]


def test_a_design_that_cannot_be_is_named(tmp_path: Path) -> None:
    for path, value in (("design", ...), ("design.rows", 0), ("design.rows", ...)):
        with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'build.json'}: design")):
            read_built(write(tmp_path, changed(path, value)))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"build"', "\x00"])
def test_what_is_no_description_at_all(tmp_path: Path, text: str) -> None:
    (tmp_path / "build.json").write_text(text)
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "build.json"))):
        read_built(tmp_path)


def test_a_folder_without_a_finished_build(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`mmfree build` writes it when it has succeeded"):
        read_built(tmp_path)
    with pytest.raises(InputError, match="no such folder; give that of a build"):
        read_built(tmp_path / "none")
    write(tmp_path, DESCRIPTION)
    with pytest.raises(InputError, match="a file, not the folder of a build"):
        read_built(tmp_path / "build.json")

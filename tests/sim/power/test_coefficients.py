"""Technology files: valid, and refused when they are not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hdl.toolchain.families import FAMILIES
from mmfree.errors import InputError
from sim.power.coefficients import (
    FAMILY_NAMES,
    REQUIRED,
    TECHNOLOGY,
    load_part,
    load_parts,
    load_quantities,
    part_names,
)

ECP5 = (TECHNOLOGY / "ecp5.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", part_names())
def test_every_part_has_all_coefficients_with_sources(name: str) -> None:
    part = load_part(name)
    assert part.family in FAMILIES
    assert tuple(FAMILIES) == FAMILY_NAMES
    assert set(part.capacity) >= {"luts", "flip_flops", "ram_blocks", "dsp"}
    for quantity in part.coefficients.values():
        assert len(quantity.source) > 10 or quantity.value == 0
    assert part.coefficients["static"].unit == part.coefficients["pll"].unit == "W"
    assert {part.coefficients[name].unit for name in REQUIRED} == {"W", "pJ", "1"}


def test_the_model_says_what_it_assumes() -> None:
    assert set(load_quantities("model", "model")) == {"lut_rate", "glitches", "ram_still"}


def test_smaller_parts_take_less() -> None:
    statics = [load_part(f"ecp5-{size}").coefficients["static"].value for size in (25, 45, 85)]
    assert statics == sorted(statics)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (r"^net_toggle = .*\n", "", "coefficients.net_toggle is missing"),
        (r"low = 0\.18", "low = -0.18", "coefficients.net_toggle: must be 0 <= low"),
        (r"low = 0\.18", "low = 0.5", "coefficients.net_toggle: must be 0 <= low"),
        (
            r"low = 0\.18",
            "low = nan",
            "coefficients.net_toggle: value, low and high must be numbers",
        ),
        (r"low = 0\.18, ", "", "coefficients.net_toggle must have"),
        (
            r"low = 0\.18",
            "low = true",
            "coefficients.net_toggle: value, low and high must be numbers",
        ),
        (
            r'unit = "pJ", label = "D", source = "28 nm reports times 1.73, f',
            'unit = "fJ", label = "D", source = "f',
            "coefficients.lut_toggle: unit must be pJ, got fJ",
        ),
        (
            r'unit = "pJ", label = "D", source = "28 nm reports times 1.73, f',
            'unit = "pJ", label = 3, source = "f',
            "coefficients.lut_toggle: unit, label and source must be strings",
        ),
        (r"^net_toggle", "nett_toggle", "coefficients.net_toggle is missing"),
        (
            r"^ff_toggle",
            (
                "clock_nett = { value = 1, low = 1, high = 1, unit = 'pJ', label = 'D', source ="
                " 'x' }\nff_toggle"
            ),
            "coefficients.clock_nett is unknown",
        ),
        (
            r'^family = "ecp5"',
            'family = "stratix"',
            "family must be one of ice40, ecp5, xc7, xcup, got 'stratix'",
        ),
        (r"^name = .*$", "", "name is missing"),
        (r"luts = 24288, ", "", "parts.ecp5-25.capacity: luts must be a number of cells"),
        (r"luts = 24288", "luts = nan", "parts.ecp5-25.capacity: luts must be a number of cells"),
        (r'^device = "LFE5U-25F"', "device = 5", "parts.ecp5-25.device must be a string"),
        (r"^capacity = .*\n", "capacity = 3\n", "parts.ecp5-25.capacity: luts must be"),
        (
            r'unit = "pJ", label = "D", source = "clock',
            'unit = "pJ", label = "X", source = "clock',
            "coefficients.ff_clock: label",
        ),
        (r'source = "one EHXPLLL"', 'source = ""', "coefficients.pll: source"),
        (r'label = "K", source = "one', 'label = "", source = "one', "coefficients.pll: label"),
        (r'label = "K", source = "one', 'label = "VS", source = "one', "coefficients.pll: label"),
        (r"high = 0\.80, unit", "high = 0.37, unit", "coefficients.net_toggle: must be 0 <= low"),
        (r"value = 0\.38", "value = inf", "value, low and high must be numbers"),
        (r'unit = "1", label = "K"', 'unit = "pJ", label = "K"', "dsp_8_bits: unit must be 1"),
        (
            r'unit = "W", label = "K"',
            'unit = "mW", label = "K"',
            "coefficients.pll: unit must be W",
        ),
        (r'unit = "W", label = "D"', 'unit = "mW", label = "D"', "static: unit must be W, got mW"),
        (r"luts = 24288", "luts = -1", "parts.ecp5-25.capacity: luts must be a number of cells"),
        (r"dsp = 28", "dsp = true", "parts.ecp5-25.capacity: dsp must be a number of cells"),
        (r", dsp = 28", "", "parts.ecp5-25.capacity: dsp must be a number of cells"),
        (r"^name", "parts = 3\nname", "ecp5.toml"),
        (r"^static = .*\n", "", "parts.ecp5-25.static is missing"),
        (r"^capacity = .*\n", "", "parts.ecp5-25.capacity is missing"),
        (r"^\[coefficients\]$", "[coefficient]", "coefficients is missing"),
        (r"^family", "family = ", "ecp5.toml"),
    ],
)
def test_an_unsound_file_is_refused_by_name(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    text, count = re.subn(before, after, ECP5, count=1, flags=re.MULTILINE)
    assert count == 1
    path = tmp_path / "ecp5.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)):
        load_parts(path)


def test_what_no_part_has_counts_as_nothing(tmp_path: Path) -> None:
    """A capacity of 0 is allowed, and what a family need not have is 0."""
    path = tmp_path / "ecp5.toml"
    text = ECP5.replace("dsp = 28", "dsp = 0").replace("ram_blocks = 56", "ram_blocks = 0")
    path.write_text(text, encoding="utf-8")
    part = load_parts(path)["ecp5-25"]
    assert (part.capacity["dsp"], part.capacity["ram_blocks"]) == (0, 0)
    assert part.coefficients["clock_net"].value == part.coefficients["uram_access"].value == 0
    assert load_part("ice40up5k").coefficients["clock_net"].value == 53
    assert load_part("zu5ev").coefficients["uram_access"].value == 12


@pytest.mark.parametrize("parts", ["parts = 3", "parts = {}", "", "parts = { a = 3 }"])
def test_a_file_without_parts_is_refused(parts: str, tmp_path: Path) -> None:
    path = tmp_path / "ecp5.toml"
    head, _, rest = ECP5.partition("[parts.ecp5-25]")
    path.write_text(f"{head}{parts}\n[coefficients]{rest.partition('[coefficients]')[2]}")
    with pytest.raises(InputError, match=r"parts is missing|parts\.a must be a table"):
        load_parts(path)


def test_a_part_is_its_own_entry_of_its_family() -> None:
    part = load_part("ecp5-45")
    assert (part.name, part.device, part.family) == ("ecp5-45", "LFE5U-45F", "ecp5")
    assert part.technology == "Lattice ECP5, 40 nm, 1.1 V"
    assert part.capacity == {"luts": 43848, "flip_flops": 43848, "ram_blocks": 108, "dsp": 72}
    assert part.coefficients["static"].value == 0.093


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: cannot be read: No such file"):
        load_part("ecp5-25", tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"bytes\.toml: .*utf-8"):
        load_parts(tmp_path / "bytes.toml")


def test_an_unknown_part_lists_those_that_are_known() -> None:
    with pytest.raises(InputError, match=r"part must be one of .*ecp5-25.*, got 'ecp5-12'"):
        load_part("ecp5-12")


def test_parts_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(ECP5.replace("ecp5-25", "mine"), encoding="utf-8")
    assert load_part("mine", path).coefficients["static"].value == 0.075
    with pytest.raises(InputError, match="part must be one of"):
        load_part("xc7a35t", path)

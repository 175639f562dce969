"""The figures of docs/power.md, each from the data file or the command that it comes from."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hdl.toolchain.counts import WAYS, estimated_count
from mmfree.chip.sizing import design_for
from mmfree.cli.parser import build_parser
from sim.power.basis import ASSUMED_CLOCK_HZ
from sim.power.cells import cell_energies
from sim.power.coefficients import LABELS, TECHNOLOGY, load_part, load_quantities, part_names
from sim.power.page import Peer, peers
from sim.power.validation import predictions
from tests.support.documents import numbers_in, table_rows, text_of
from tests.support.sim.shapes import ADDITION

FIGURES = Path(__file__).parents[3] / "docs" / "figures"
PAGE = text_of("power.md")


def data_of(name: str) -> dict[str, Any]:
    """A data file of the documents."""
    data: dict[str, Any] = json.loads((FIGURES / name).read_text(encoding="utf-8"))
    return data


ADDITION_ON_ECP5 = data_of("addition_on_ecp5.json")
TAPE = ADDITION.tape(1, wild=False)


def close(shown: str, value: float) -> bool:
    """Whether a figure is the value, rounded to as many digits as it shows."""
    decimals = len(shown.partition(".")[2])
    return abs(float(shown.replace(",", "")) - value) <= 0.5001 * 10**-decimals


def assert_close(shown: Iterable[str], span: dict[str, float], unit: float = 1.0) -> None:
    """Best, low and high value."""
    for figure, name in zip(shown, ("best", "low", "high"), strict=True):
        assert close(figure, unit * span[name]), (figure, name, span)


def test_published_systems_are_counted() -> None:
    found = predictions()
    held = [p for p in found if p.held_out]
    seen = [p for p in found if not p.held_out]
    pattern = (
        r"predicts (\d+) published systems: (\d+) held out, of which (\d+) lie inside their"
        r" interval, and (\d+) seen, .*?; (\d+) of these lie outside"
    )
    assert numbers_in(PAGE, pattern) == [
        len(found),
        len(held),
        sum(p.inside for p in held),
        len(seen),
        sum(not p.inside for p in seen),
    ]
    decision = text_of("decisions/0014-power-by-coefficients.md")
    assert numbers_in(decision, r"compares: (\d+) of (\d+) held out lie inside") == [
        sum(p.inside for p in held),
        len(held),
    ]
    assert "from three wide coefficients" in PAGE
    assert len(load_quantities("model", "published")) == 3


def test_coefficients_are_quoted() -> None:
    glitches = load_quantities("model", "model")["glitches"]
    assert numbers_in(PAGE, r"`glitches` \(([\d.]+) to ([\d.]+)\)") == [glitches.low, glitches.high]
    scale = load_part("ecp5-85").coefficients["scale"]
    assert numbers_in(PAGE, r"a common factor of ([\d.]+) to ([\d.]+)") == [scale.low, scale.high]
    assert re.findall(r"\b([A-Z]) (?:read in|quoted by|derived|recalled)", PAGE) == list(LABELS)
    assert numbers_in(PAGE, r"elsewhere (\d+) MHz is assumed") == [ASSUMED_CLOCK_HZ / 1e6]


def test_parts_are_listed_here_and_in_the_help() -> None:
    listed = PAGE.partition("## Parts")[2].partition("`--technology FILE`")[0]
    assert re.findall(r"`([a-z]\w+(?:-\d+)?)`", listed) == part_names()
    power = next(
        action.choices["power"]
        for action in build_parser()._actions
        if isinstance(action.choices, dict)
    )
    (text,) = (action.help for action in power._actions if action.dest == "part")
    shown: list[str] = []
    for name in re.findall(r"[\w-]+", text.partition(" (default:")[0]):
        shown.append(shown[0].partition("-")[0] + name if name.startswith("-") else name)
    assert sorted(shown) == sorted(part_names())


def test_counts_of_one_design() -> None:
    """The table, from what `mmfree power --build` gave; its first line again by the cost model."""
    data = ADDITION_ON_ECP5
    rows = table_rows(PAGE, "| count |")
    assert [row[0] for row in rows] == list(WAYS) == list(data["counts"])
    for way, *cells, what in rows:
        count = data["counts"][way]
        assert [int(cell.replace(",", "")) for cell in cells] == [
            count["luts"],
            count["flip_flops"],
            count["ram_blocks"],
        ]
        assert what == count["what"] == WAYS[way]
    design = design_for(TAPE, data["lanes"], data["weight_code"])
    assert data["counts"]["estimated"] == estimated_count(design).to_dict()
    assert numbers_in(PAGE, r"was routed for ([\d.]+) MHz and runs at ([\d.]+)") == [
        round(data["clock_limit_hz"] / 1e6, 1),
        data["estimates"]["routed"]["clock_hz"] / 1e6,
    ]


def test_estimates_of_that_design() -> None:
    """As built, with Yosys' cells at the same clock, and unbuilt at the clock to be expected."""
    found = ADDITION_ON_ECP5["estimates"]
    assert found["routed"]["clock_hz"] == found["by block"]["clock_hz"] == 100e6
    span = r"([\d.]+) (?:uJ |uJ per token )?\(([\d.]+) to ([\d.]+)\)"
    shown = re.search(rf"at 100 MHz {span} as routed, {span} by block", PAGE)
    assert shown is not None
    assert_close(shown.groups()[:3], found["routed"]["joules_per_token"], 1e6)
    assert_close(shown.groups()[3:], found["by block"]["joules_per_token"], 1e6)
    results, unbuilt = text_of("results.md"), found["projected"]
    assert numbers_in(results, r"batch 1, (\d+) MHz \(projected\)") == [
        round(unbuilt["clock_hz"] / 1e6)
    ]
    pattern = r"([\d.]+) uJ per token \(([\d.]+) to (\d+)\), ([\d.]+) W \(([\d.]+) to ([\d.]+)\)"
    own = re.search(pattern, results)
    assert own is not None
    assert_close(own.groups()[:3], unbuilt["joules_per_token"], 1e6)
    assert_close(own.groups()[3:], unbuilt["watts"])


MULTIPLIERS: dict[str, dict[str, Any]] = {
    part: data_of(f"multiplying_{part}.json") for part in ("ecp5-85", "zu5ev")
}
WEIGHTS = TAPE.num_ternary_weights


@pytest.mark.parametrize(("part", "first"), [("ecp5-85", 0), ("zu5ev", 6)])
def test_ternary_lanes_against_multipliers(part: str, first: int) -> None:
    """Every cell of the table, from what `tools.experiments.multiplying` gave."""
    data = MULTIPLIERS[part]
    assert (data["part"], data["lanes"], data["clock_hz"]) == (part, 64, 100e6)
    rows = table_rows(PAGE, "| uJ per token |")[first : first + 6]
    assert len(rows) == 6
    for column, chip in enumerate(data["chips"], start=1):
        energies = [chip["joules_per_token"], chip["array_joules"]]
        for row, joules in zip((rows[0], rows[4]), energies, strict=True):
            shown = re.fullmatch(r"([\d.]+) \(([\d.]+) to ([\d.]+)\)", row[column])
            assert shown is not None
            assert_close(shown.groups(), joules, 1e6)
        assert close(rows[1][column], 1e6 * chip["static_joules"]["best"])
        memory, blocks = re.findall(r"[\d.]+", rows[2][column])
        assert close(memory, 1e6 * chip["weight_memory_joules"]["best"])
        assert int(blocks) == chip["weight_memory_blocks"]
        assert close(rows[3][column], 1e6 * chip["dynamic_joules_without_weight_memory"])
        cells = [
            int(figure.replace(",", "")) for figure in re.findall(r"[\d,]*\d", rows[5][column])
        ]
        array = chip["array_cells"]
        assert cells == [array["luts"], array["flip_flops"], array["dsp"]], rows[5]


def array_of(lanes_are: int, what: str) -> list[float]:
    """Of both parts' chips of a kind: joules of the array, or its LUTs."""
    chips = [data["chips"][lanes_are] for data in MULTIPLIERS.values()]
    if what == "joules":
        return [chip["array_joules"]["best"] for chip in chips]
    return [chip["array_cells"][what] for chip in chips]


TERNARY, IN_LUTS, IN_DSP = range(3)


@pytest.mark.parametrize(
    ("pattern", "values"),
    [
        (
            r"lane takes (\d+) \(ECP5\) to (\d+) times \(UltraScale\+\) a ternary lane's energy",
            np.divide(array_of(IN_LUTS, "joules"), array_of(TERNARY, "joules")),
        ),
        (
            r"energy and (\d+) to (\d+) times its LUTs",
            np.divide(array_of(IN_LUTS, "luts"), array_of(TERNARY, "luts")),
        ),
        (r"unit, (\d+) to (\d+) LUTs a lane", np.divide(array_of(IN_LUTS, "luts"), 64)),
        (
            r"they take (\d+) to (\d+) times the ternary array's energy",
            np.divide(array_of(IN_DSP, "joules"), array_of(TERNARY, "joules")),
        ),
        (
            r"per weight, (\d+) to (\d+) pJ ternary",
            np.divide(array_of(TERNARY, "joules"), 1e-12 * WEIGHTS),
        ),
        (
            r"ternary, (\d+) to (\d+) in DSP blocks as built",
            np.divide(array_of(IN_DSP, "joules"), 1e-12 * WEIGHTS),
        ),
        (
            r"as built, (\d+) to (\d+) in LUTs",
            np.divide(array_of(IN_LUTS, "joules"), 1e-12 * WEIGHTS),
        ),
        (r"the table by ([\d,]+) weights", np.array([WEIGHTS])),
    ],
)
def test_ratios_of_that_table(pattern: str, values: NDArray[np.float64]) -> None:
    assert numbers_in(PAGE, pattern) == [round(value) for value in sorted(values)]


def test_the_least_that_dsp_blocks_take() -> None:
    ecp5, zu5ev = (data["chips"][IN_DSP]["dsp_joules"] for data in MULTIPLIERS.values())
    pattern = r"are ([\d.]+) uJ on the ECP5 and ([\d.]+) \(([\d.]+) to ([\d.]+)\) on UltraScale"
    found = re.search(pattern, PAGE)
    assert found is not None
    assert close(found[1], 1e6 * ecp5["best"])
    assert_close(found.groups()[1:], zu5ev, 1e6)
    pattern = r"UltraScale\+, against ([\d.]+) and ([\d.]+) of the ternary array"
    found = re.search(pattern, PAGE)
    assert found is not None
    for figure, joules in zip(found.groups(), array_of(TERNARY, "joules"), strict=True):
        assert close(figure, 1e6 * joules)


def test_zero_weights() -> None:
    """Toggles from what `tools.experiments.zeros` gave; savings from the energies beside them."""
    rows = data_of("zeros.json")["rows"]
    (shares,) = re.findall(r"at ((?:\d+, )+\d+) % zeros", PAGE)
    assert [int(share) for share in shares.split(", ")] == [round(100 * r["zeros"]) for r in rows]
    (toggles,) = re.findall(r"% zeros: ((?:[\d.]+, )+[\d.]+)\. A third", PAGE)
    for shown, row in zip(toggles.split(", "), rows, strict=True):
        assert close(shown, row["array_toggles_per_lane_and_tile"])
    for pattern in (
        r"64 lanes ([\d.]+) to ([\d.]+) uJ per token \((\d+) %\)",
        r"512 lanes ([\d.]+) to ([\d.]+) \((\d+) %\)",
    ):
        before, after, percent = numbers_in(PAGE, pattern)
        assert percent == round(100 * (1 - after / before))


def test_cells_of_an_asic() -> None:
    found = {
        (cell.node, cell.weights_are): cell
        for cell in cell_energies(WEIGHTS, design_for(TAPE, 64, "2"))
    }
    ratio = {
        node: [
            found[node, "int8"].arithmetic.best / found[node, "ternary"].arithmetic.best,
            found[node, "int8"].weight_memory.best / found[node, "ternary"].weight_memory.best,
        ]
        for node in ("45 nm", "7 nm")
    }
    assert "differs by five times (45 nm) to six (7 nm), the weight memory by four" in PAGE
    assert [[round(r) for r in ratios] for ratios in ratio.values()] == [[5, 4], [6, 4]]


def test_external_memories() -> None:
    memories = load_quantities("memories", "memories")
    ddr4, hbm2 = memories["ddr4"].value, memories["hbm2"].value
    pattern = (
        r"DDR4 at (\d+) pJ per bit a ternary weight of 1\.6 bits takes (\d+) pJ, an int8 weight"
        r" (\d+)"
    )
    assert numbers_in(PAGE, pattern) == [ddr4, round(1.6 * ddr4), 8 * ddr4]
    pattern = r"a weight of 1\.6 bits takes (\d+) pJ from DDR4 and (\d+) pJ from HBM2"
    assert numbers_in(PAGE, pattern) == [round(1.6 * ddr4), round(1.6 * hbm2)]


def peer(name: str) -> Peer:
    (found,) = (p for p in peers() if p.name == name)
    return found


def test_published_claims() -> None:
    kv260, rtx = peer("bitnet-kv260, BitNet 2B"), peer("RTX 3060, Qwen2.5 1.5B, fp16")
    rows = {row[0].partition(",")[0]: row for row in table_rows(PAGE, "| joules per token;")}
    assert (
        rows["KV260"][1] == f"{kv260.joules_per_token} J; {picojoules(kv260.joules_per_weight)} pJ"
    )
    assert numbers_in(rows["KV260"][0], r"([\d.]+) B ternary") == [round(kv260.weights / 1e9, 2)]
    assert numbers_in(rows["RTX 3060"][1], r"([\d.]+) J; ([\d,]+) pJ") == [
        rtx.joules_per_token,
        round(1e12 * rtx.joules_per_weight, -2),
    ]
    batch = numbers_in(rows["RTX 3060"][2], r"([\d.]+) J; ([\d.]+) pJ at batch (\d+)")
    assert f"{batch[0]} J at batch {batch[2]:g}" in rtx.what
    assert batch[1] == round(1e12 * batch[0] / rtx.weights)
    watts, tokens = numbers_in(PAGE, r"gives ([\d.]+) W for .*? about (\d+) tokens/s")
    (own,) = numbers_in(PAGE, r"not read here\): ([\d.]+) J per token")
    assert own == round(watts / tokens, 2)
    assert rows["the paper's D5005"][1] == f"{own} J; {round(1e12 * own / 1.3e9, -1):g} pJ"
    assert numbers_in(PAGE, r"(\d+) W / ([\d.]+) W = (\d+)") == [700, watts, round(700 / watts)]
    power, idle = published("bitnet-kv260, base 3")
    pattern = (
        r"weights at ([\d.]+) W, module idle included, and ([\d.]+) J per token .*?, (\d+) pJ per"
    )
    assert numbers_in(PAGE, pattern) == [
        round(power, 1),
        kv260.joules_per_token,
        round(1e12 * kv260.joules_per_weight * (power - idle) / power, -1),
    ]
    assert numbers_in(PAGE, r"over the idle of ([\d.]+) W") == [round(idle, 1)]
    tereffic = peer("TerEffic, MMfreeLM 370M")
    assert numbers_in(PAGE, r"TerEffic's abstract gives (\d+) pJ") == [
        round(1e12 * tereffic.joules_per_weight)
    ]


def picojoules(joules: float) -> str:
    return f"{1e12 * joules:.0f}"


def published(name: str) -> tuple[float, float]:
    """Watts of a published system, and of its board when idle."""
    table = tomllib.loads((TECHNOLOGY / "published.toml").read_text(encoding="utf-8"))
    (entry,) = (entry for entry in table["systems"] if entry["name"] == name)
    return entry["published"], entry["base"]["value"]

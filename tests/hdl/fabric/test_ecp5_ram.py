"""The block RAM of the ECP5 as this project uses it: settings that no simulation here can see."""

from __future__ import annotations

import re

import pytest
from amaranth.back import rtlil

from hdl.fabric.ecp5_ram import count_blocks, num_copies, plan_banks, word_lanes
from hdl.fabric.technology import Technology
from hdl.memory.block_memory import BlockMemory

SETTINGS = {
    **{f"REGMODE_{side}": "OUTREG" for side in "AB"},
    **{f"WRITEMODE_{side}": "NORMAL" for side in "AB"},
    **{f"CSDECODE_{side}": "0b000" for side in "AB"},
    **{f"CLK{side}MUX": f"CLK{side}" for side in "AB"},
    "RESETMODE": "SYNC",
    "ASYNC_RESET_RELEASE": "SYNC",
    "GSR": "DISABLED",
}
"""Output registers; what side A shows of a write is not used; selected by 000; never reset."""

TIED = {
    **{f"CS{side}{n}": "1'0" for side in "AB" for n in range(3)},
    **{f"OCE{side}": "1'1" for side in "AB"},
    **{f"RST{side}": "1'0" for side in "AB"},
    "WEB": "1'0",
}


@pytest.mark.parametrize(("depth", "lanes"), [(300, 4), (1024, 2), (2048, 1)])
def test_every_block_has_the_settings_that_the_contract_needs(depth: int, lanes: int) -> None:
    memory = BlockMemory("words", part_bits=9, parts=4, depth=depth, init=range(depth))
    text = rtlil.convert(memory, name="block", platform=Technology.ECP5, emit_src=False)
    cells = re.findall(r"cell \\DP16KD .*?\n  end\n", text, re.DOTALL)
    assert len(cells) == 4 // lanes == memory.blocks()
    for cell in cells:
        parameters = dict(re.findall(r"parameter \\(\w+) \"?([^\s\"]+)", cell))
        found = {name: value for name, value in parameters.items() if "INITVAL" not in name}
        widths = {f"DATA_WIDTH_{side}": f"{9 * lanes}" for side in "AB"}
        numbers = {name: str(_number(found.pop(name))) for name in widths}
        assert (found, numbers) == (SETTINGS, widths)
        ports = dict(re.findall(r"connect \\(\w+) (.*)", cell))
        assert {name: ports[name] for name in TIED} == TIED
        # Of words of one lane, all pins below the address are 0: it is enabled as a whole.
        unused = [ports[f"ADB{n}"] for n in range({4: 5, 2: 4, 1: 3}[lanes])]
        assert set(unused) == {"1'0"}


def _number(text: str) -> int:
    """A number of RTLIL, in decimal or as bits."""
    return int(text.partition("'")[2], 2) if "'" in text else int(text)


@pytest.mark.parametrize(("depth", "blocks"), [(1, 0), (64, 0), (65, 1), (512, 1), (513, 2)])
def test_up_to_64_words_are_kept_in_luts(depth: int, blocks: int) -> None:
    assert count_blocks(depth, 36, 1) == blocks
    assert len(plan_banks(depth, 36, 1, 1)) == (blocks > 0)


@pytest.mark.parametrize(("reads", "copies"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_two_read_ports_share_a_copy(reads: int, copies: int) -> None:
    assert num_copies(reads) == copies
    assert count_blocks(1024, 18, 1, reads) == copies


def test_parts_share_no_lane() -> None:
    lanes = [(lane.part, lane.start, lane.bits) for lane in word_lanes(12, 2)]
    assert lanes == [(0, 0, 9), (0, 9, 3), (1, 12, 9), (1, 21, 3)]
    assert [lane.bits for lane in word_lanes(9, 1)] == [9]

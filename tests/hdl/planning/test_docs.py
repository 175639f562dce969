"""The figures of docs/fit.md are what `mmfree fit` projects today."""

from __future__ import annotations

import pytest

from hdl.planning.cycles import MEMORY_LATENCY
from hdl.planning.parts import find_part, known_parts, known_peers
from hdl.planning.projection import USABLE, project
from mmfree.inference.shapes import PUBLISHED
from mmfree.report.numbers import plain
from tests.support.documents import numbers_in, table_rows, text_of

PAGE = text_of("fit.md")
ROWS = {row[0].strip("`"): row[1:] for row in table_rows(PAGE, "| part | 370M")}


@pytest.mark.parametrize("name", [name for name in ROWS if name in known_parts()])
def test_projected_rates(name: str) -> None:
    part = find_part(name)
    plans = [project(config, part) for config in PUBLISHED.values()]
    shown = [
        f"{plain(plan.tokens_per_second())} ({plan.limited_by})" if plan.fits else "-"
        for plan in plans
    ]
    assert ROWS[name][:3] == shown
    rate = float(ROWS[name][3].partition(" GB/s")[0])
    assert rate == pytest.approx(part.memories[0].rates[0].value / 1e9, rel=0.02)
    assert {f"{plan.clock.value / 1e6:.0f} MHz" for plan in plans} == {ROWS[name][4].split(",")[0]}
    assert ("assumed" in ROWS[name][4]) == all(plan.clock.label == "A" for plan in plans)


def test_the_slower_rate_that_a_peer_measured() -> None:
    part = find_part("kv260")
    rate = part.memories[0].rates[1]
    plans = [project(config, part) for config in PUBLISHED.values()]
    shown = [plain(p.tokens_per_second(rate)) if p.fits else "-" for p in plans]
    assert ROWS["the same, slower"][:3] == shown


def test_every_board_of_the_table_is_there() -> None:
    boards = {name for name, part in known_parts().items() if part.memories}
    assert boards | {"the same, slower"} == set(ROWS)
    listed = " ".join(row[0] for row in table_rows(PAGE, "| name | what"))
    assert {name.strip("`,") for name in listed.split()} == set(known_parts())


def test_what_the_page_says_of_the_plan() -> None:
    plan = project(PUBLISHED["370m"], find_part("u280"))
    lanes, luts = numbers_in(PAGE, r"A U280 with ([\d,]+) lanes .* its LUTs \(([\d,]+)\)")
    assert plan.design.lanes == lanes
    assert plan.cells["luts"] == pytest.approx(luts, rel=0.01)
    assert numbers_in(PAGE, r"up to (\d+) % of the part's") == [100 * USABLE["luts"]]
    assert numbers_in(PAGE, r"taken to come (\d+) cycles") == [MEMORY_LATENCY]
    kv260 = project(PUBLISHED["370m"], find_part("kv260"))
    slower = kv260.part.memories[0].rates[1]
    assert numbers_in(PAGE, r"KV260 takes ([\d.]+) GB/s") == [
        round(kv260.needed_bytes_per_second / 1e9, 1)
    ]
    assert numbers_in(PAGE, r"At ([\d.]+) GB/s, .*? (\d+) MHz .* suffice for (\d+) tokens") == [
        round(slower.value / 1e9, 1),
        round(kv260.sufficient_clock_hz(slower) / 1e6),
        round(kv260.tokens_per_second(slower)),
    ]
    assert kv260.tokens_per_second(slower) > 180


def test_what_others_publish() -> None:
    rates = {
        (peer.name.split(",")[0], peer.model): peer.tokens_per_second for peer in known_peers()
    }
    kria, ternip = numbers_in(PAGE, r"([\d.]+) tokens/s \(matmulfree_KRIA.*?\) and (\d+) \(Ternip")
    assert (kria, ternip) == (rates["matmulfree_KRIA", "370m"], round(rates["Ternip", "370m"]))
    hbm, inside = numbers_in(PAGE, r"TerEffic (\d+) for 2\.7B .* and ([\d,]+) for 370M")
    assert (hbm, inside) == (rates["TerEffic", "2.7b"], rates["TerEffic", "370m"])

"""The sigmoid by pairs against its golden twin and plain integers."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from hdl.absmax.sigmoid import INDEX_LATENCY, TABLE_PAIRS, Sigmoid
from hdl.memory.loaded_memory import LATENCY as TABLE_LATENCY
from mmfree.contract.absmax import sigmoid_table
from mmfree.golden import absmax as golden
from tests.support.hdl import elementwise as twin
from tests.support.hdl.bench import simulate, to_python

WIDTH = 2


def sigmoids(values: list[list[int]], table: twin.Table) -> list[list[int]]:
    """What the block makes of P values per cycle, from a table that answers in time."""
    block = Sigmoid(WIDTH)
    asked: list[list[int]] = []
    seen: list[list[int]] = []

    async def bench(ctx: Any) -> None:
        for z in [*values, *[[0] * WIDTH] * block.latency]:
            ctx.set(block.z, z)
            asked.append(to_python(ctx.get(block.address)))
            if len(asked) > TABLE_LATENCY:
                for p, word in enumerate(asked[-1 - TABLE_LATENCY]):
                    value, rise = table[word]
                    ctx.set(block.pair[p], {"value": value, "rise": rise})
            await ctx.tick()
            seen.append(to_python(ctx.get(block.o)))

    simulate(block, bench)
    assert asked[INDEX_LATENCY] == [min(abs(z), (1 << 32) - 1) >> 12 & 4095 for z in values[0]]
    return seen[block.latency - 1 : block.latency - 1 + len(values)]


@pytest.mark.parametrize("wild", [False, True])
def test_every_part_of_the_range(wild: bool) -> None:
    """``wild``: a table of any values and rises whose sums stay below 1."""
    rng = random.Random(wild)
    if wild:
        rises = [rng.choice([0, 1, 32767, rng.randrange(1 << 15)]) for _ in range(TABLE_PAIRS)]
        table = [(rng.choice([0, (1 << 24) - rise, rng.randrange((1 << 24) - rise)]), rise)
                 for rise in rises]  # fmt: skip
        table = [(min(value, (1 << 24) - 1), rise) for value, rise in table]
    else:
        table = [(int(value), int(rise)) for value, rise in zip(*sigmoid_table(), strict=True)]
    flat = twin.WILD_Z + [
        rng.choice([-1, 1]) * rng.randrange(1 << rng.randrange(1, 32)) for _ in range(600)
    ]
    flat += [sign * (4096 * j + part) for j in (0, 1, 4094, 4095) for part in (1, 2047, 2048)
             for sign in (1, -1)]  # fmt: skip
    flat += [0] * (len(flat) % WIDTH)
    values = [flat[n : n + WIDTH] for n in range(0, len(flat), WIDTH)]
    expected = [[twin.sigmoid(z, table) for z in group] for group in values]
    assert sigmoids(values, table) == expected
    pairs = np.array(table, dtype=np.int64).T
    by_golden = golden.sigmoid(np.array(flat, dtype=np.int64), pairs[0], pairs[1], 20)
    assert by_golden.reshape(-1, WIDTH).tolist() == expected
    assert {0, twin.ONE} <= {value for group in expected for value in group}

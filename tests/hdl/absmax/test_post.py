"""The post-processing of absmax against plain integers: whole tokens, cycle by cycle."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any

import pytest

from hdl.absmax import gates, products
from hdl.absmax.post import ELEMENTS, EMBEDDING_LATENCY, POST_SITES, Post
from hdl.absmax.products import NOISE_READY, UPDATED
from hdl.absmax.requantize import LATENCY as Z
from hdl.arithmetic.noise import LATENCY as NOISE_LATENCY
from hdl.memory.loaded_memory import LATENCY as TABLE_LATENCY
from hdl.memory.parameters import LATENCY as PARAMETER_LATENCY
from hdl.memory.state_banks import StateBanks
from hdl.memory.vectors import GroupMemory
from hdl.payloads import GATES_KIND, GLU_KIND, HEAD_KIND, OUTPUT_KIND
from hdl.rows.logits import chosen_cycle
from hdl.rows.residual import WRITTEN
from mmfree.chip.design import Design
from mmfree.contract.absmax import sigmoid_table
from tests.support.hdl import elementwise as twin
from tests.support.hdl.bench import simulate, to_python
from tests.support.hdl.values import small_design

TABLE = [(int(value), int(rise)) for value, rise in zip(*sigmoid_table(), strict=True)]
HIDDEN, INTERMEDIATE, WORDS = 9, 15, 11
"""Rows of the matrices: none fills its last row block."""

CODES = {"gates": GATES_KIND, "output": OUTPUT_KIND, "glu": GLU_KIND, "head": HEAD_KIND}
ROLES = {
    "gates": ("table", "forget", "operand"),
    "output": ("residual",),
    "glu": ("table", "operand"),
    "head": ("logit",),
}
GAP = 64
"""Cycles between segments, in which the last values pass."""


class Script:
    """What happens to the block in which cycle, and what must come of it."""

    def __init__(self, design: Design, seed: int) -> None:
        self.design, self.rng = design, random.Random(seed)
        self.rows: dict[int, dict[str, Any]] = {}
        self.settings: dict[int, dict[str, int]] = defaultdict(dict)
        self.embedding: dict[int, dict[str, Any]] = {}
        self.noise: dict[int, list[int]] = {}
        self.bounds: list[list[int]] = []
        self.expected: dict[str, dict[int, Any]] = defaultdict(dict)
        self.used: dict[int, int] = defaultdict(int)
        self.saturations: Counter[str] = Counter()
        self.x: list[int] = [0] * 64
        self.h: list[int] = [self.rng.randint(twin.INT32_MIN, twin.INT32_MAX) for _ in range(64)]
        self.state_before = list(self.h)
        self.now = 4

    def start(self, *, begin: int, temperature: int) -> None:
        """A token begins: its row of the embedding."""
        width = self.design.post_width
        self.settings[self.now] |= {"restart": 1, "begin": begin, "temperature": temperature}
        self.settings[self.now + 1] |= {"restart": 0, "kind": 0}
        self.now += 4
        self.begin, self.temperature = begin, temperature
        words = -(-HIDDEN // self.design.columns)
        groups = words * self.design.columns // width
        for group in range(groups):
            values = [self.any_x() for _ in range(width)]
            keep = sum((group * width + p < HIDDEN) << p for p in range(width))
            self.x[group * width : (group + 1) * width] = values
            write = {"group": group, "keep": keep, "data": values}
            self.embedding[self.now] = {**write, "end": group == groups - 1}
            self.expected["write_x"][self.now + 1] = {**write, "enable": 1}
            self.expect_elements(self.now + EMBEDDING_LATENCY, group, keep, group == groups - 1,
                                 values, values)  # fmt: skip
            self.now += 4
        self.now += GAP

    def segment(self, kind: str, rows: int) -> None:
        """Row blocks of each matrix, one after another; the last one's groups with pauses."""
        design, width = self.design, self.design.post_width
        self.settings[self.now]["kind"] = CODES[kind]
        self.now += 3
        slots, blocks = design.groups_per_block, -(-rows // design.rows)
        best: tuple[int, int] | None = None
        for block in range(blocks):
            waiting: dict[str, dict[int, list[int]]] = defaultdict(dict)
            for role in ROLES[kind]:
                for slot in range(slots):
                    group = block * slots + slot
                    keep = sum((group * width + p < rows) << p for p in range(width))
                    end = block == blocks - 1 and slot == slots - 1 and role == ROLES[kind][-1]
                    tag = {"valid": 1, "end": end, "role": {role: 1}, "keep": keep, "slot": slot,
                           "group": group}  # fmt: skip
                    z = self.put(tag, logit=role == "logit")
                    if role == "table":
                        waiting[role][slot] = [twin.silu(value, TABLE) for value in z]
                        self.used[self.now + gates.ANSWERED + 1] |= keep
                    elif role == "forget":
                        waiting[role][slot] = self.forget(z)
                        self.used[self.now + gates.ANSWERED + 1] |= keep
                    elif role == "operand" and kind == "gates":
                        self.mix(tag, z, waiting["table"][slot], waiting["forget"][slot])
                    elif role == "operand":
                        w = [a * b for a, b in zip(z, waiting["table"][slot], strict=True)]
                        self.expect_w(self.now + ELEMENTS["glu"], tag, w, w)
                    elif role == "residual":
                        self.add(tag, z)
                    else:
                        best = self.choose(tag, z, best)
                    last = role == ROLES[kind][-1]
                    self.now += self.rng.randrange(1, 4) if last else 1
                self.now += self.rng.randrange(2)
        if best is not None:
            self.expected["row"][self.now + GAP - 1] = best[1]
        self.now += GAP

    def put(self, tag: dict[str, Any], *, logit: bool) -> list[int]:
        """P accumulators now; yields what they are requantized to."""
        rng, width = self.rng, self.design.post_width
        most = 1 << self.design.accumulator_bits - 1
        acc = [rng.choice([0, -most, most - 1, rng.randrange(-most, most)]) for _ in range(width)]
        factor, shift = rng.randrange(1 << 24), rng.choice([0, 0, 0, 0, *range(1, 40), 62])
        self.rows[self.now] = {"tag": tag, "acc": acc, "multiplier": factor, "shift": shift}
        exact = [twin.rnd(a * factor, shift) if shift else (a * factor) << 40 for a in acc]
        z = [twin.clamp(value) for value in exact]
        over = sum((a != b) << p for p, (a, b) in enumerate(zip(exact, z, strict=True)))
        self.saturate("logit" if logit else "projection", Z, over & tag["keep"])
        return z

    def saturate(self, site: str, cycle: int, flags: int) -> None:
        self.expected[site][self.now + cycle] = flags
        self.saturations[site] += flags.bit_count()

    def any_x(self) -> int:
        return self.rng.choice(
            [0, 1, twin.INT32_MIN, twin.INT32_MAX, self.rng.randrange(-(1 << 20), 1 << 20)]
        )

    def forget(self, z: list[int]) -> list[int]:
        bounds = [
            self.rng.choice([0, twin.FORGET_ONE, self.rng.randrange(twin.FORGET_ONE)]) for _ in z
        ]
        self.bounds.append(bounds)
        return [twin.forget(a, lb, TABLE) for a, lb in zip(z, bounds, strict=True)]

    def mix(self, tag: dict[str, Any], g: list[int], c: list[int], f: list[int]) -> None:
        first = tag["group"] * len(g)
        h = [0] * len(g) if self.begin else self.h[first : first + len(g)]
        new = [twin.next_state(*operands) for operands in zip(f, c, h, strict=True)]
        self.h[first : first + len(g)] = new
        self.expected["write_state"][self.now + UPDATED] = {
            "group": tag["group"], "keep": tag["keep"], "data": new, "enable": 1,
        }  # fmt: skip
        self.used[self.now + products.ANSWERED + 1] |= tag["keep"] << len(g)
        w = [a * twin.silu(b, TABLE) for a, b in zip(g, new, strict=True)]
        self.expect_w(self.now + ELEMENTS["gates"], tag, w, g)

    def add(self, tag: dict[str, Any], y: list[int]) -> None:
        first = tag["group"] * len(y)
        exact = [a + b for a, b in zip(self.x[first : first + len(y)], y, strict=True)]
        x = [twin.clamp(value) for value in exact]
        self.x[first : first + len(y)] = x
        over = sum((a != b) << p for p, (a, b) in enumerate(zip(exact, x, strict=True)))
        self.saturate("residual", Z + WRITTEN, over & tag["keep"])
        if tag["keep"] & 1:
            self.expected["write_x"][self.now + Z + WRITTEN] = {
                "group": tag["group"], "keep": tag["keep"], "data": x, "enable": 1,
            }  # fmt: skip
        cycle = self.now + ELEMENTS["output"]
        self.expect_elements(cycle, tag["group"], tag["keep"], tag["end"], x, x)

    def choose(
        self, tag: dict[str, Any], z: list[int], best: tuple[int, int] | None
    ) -> tuple[int, int] | None:
        """The key and the row of the best so far, with these."""
        entries = [self.rng.randrange(-(1 << 13), 1 << 13) for _ in z]
        self.noise[self.now + NOISE_LATENCY] = entries
        self.expected["write_logits"][self.now + Z] = {
            "group": tag["group"], "keep": tag["keep"], "data": z, "enable": 1,
        }  # fmt: skip
        for p, (logit, entry) in enumerate(zip(z, entries, strict=True)):
            key = logit + (twin.rnd(self.temperature * entry, 6) << 7)
            if tag["keep"] >> p & 1 and (best is None or key > best[0]):
                best = key, tag["group"] * len(z) + p
        if tag["end"]:
            done = chosen_cycle(len(z), NOISE_READY)
            self.expected["logits_done"][self.now + done] = 1
        return best

    def expect_w(self, cycle: int, tag: dict[str, Any], w: list[int], base: list[int]) -> None:
        self.expect_elements(cycle, tag["group"], tag["keep"], tag["end"], w, base)
        if tag["keep"] & 1:
            data = [twin.packed(value) for value in w]
            write = {"group": tag["group"], "keep": tag["keep"], "data": data, "enable": 1}
            self.expected["write_u"][cycle] = write

    def expect_elements(
        self, cycle: int, group: int, keep: int, end: bool, value: list[int], base: list[int]
    ) -> None:
        self.expected["elements"][cycle] = {
            "group": group, "keep": keep, "end": int(end), "valid": 1,
            "value": [twin.packed(v) for v in value], "base": [twin.packed(v) for v in base],
        }  # fmt: skip


class World:
    """The memories around the block, and the comparison with a script."""

    def __init__(self, script: Script, post: Post) -> None:
        self.script, self.post = script, post
        self.seen: dict[str, list[Any]] = defaultdict(list)
        self.x = [0] * 64
        self.state = list(script.state_before)
        self.bound = 0
        self.kind = 0

    def set_inputs(self, ctx: Any, now: int) -> None:
        script, post, rng = self.script, self.post, self.script.rng
        row = script.rows.get(now)
        nothing = {
            "valid": 0,
            "role": {rng.choice(["table", "forget", "operand", "residual", "logit"]): 1},
            "slot": rng.randrange(script.design.groups_per_block),
        }
        ctx.set(post.rows.tag, row["tag"] if row else nothing)
        if row:
            ctx.set(post.rows.acc, row["acc"])
            ctx.set(post.rows.multiplier, row["multiplier"])
        following = script.rows.get(now + 1)
        ctx.set(post.rows.shift, following["shift"] if following else rng.randrange(63))
        for name, value in script.settings.get(now, {}).items():
            ctx.set(post.segment.header.kind if name == "kind" else getattr(post, name), value)
        write = script.embedding.get(now)
        ctx.set(post.embedding.enable, write is not None)
        ctx.set(post.embedding_end, write["end"] if write else rng.randrange(2))
        for name, value in (write or {}).items():
            if name != "end":
                ctx.set(getattr(post.embedding, name), value)
        if now in script.noise:
            ctx.set(post.noise_entry, script.noise[now])

    def answer(self, ctx: Any, now: int) -> None:
        """What memories give for what was asked some cycles ago."""
        script, post, rng = self.script, self.post, self.script.rng
        seen, width = self.seen, script.design.post_width
        seen["x"].append(ctx.get(post.x.address))
        seen["state"].append(ctx.get(post.state.address))
        seen["bound"].append(ctx.get(post.bound.next))
        seen["table"].append([ctx.get(port.address) for port in post.table])
        if now >= GroupMemory.LATENCY:
            first = seen["x"][-1 - GroupMemory.LATENCY] * width
            ctx.set(post.x.data, (self.x[first : first + width] + [0] * width)[:width])
        if now >= StateBanks.LATENCY:
            first = seen["state"][-1 - StateBanks.LATENCY] * width
            ctx.set(post.state.data, self.state[first : first + width])
        if now >= PARAMETER_LATENCY and seen["bound"][-1 - PARAMETER_LATENCY]:
            ctx.set(post.bound.values, script.bounds[self.bound])
            self.bound += 1
        else:
            ctx.set(post.bound.values, [rng.randrange(1 << 20) for _ in range(width)])
        flags = rng.getrandbits(2 * width)
        for n, port in enumerate(post.table):
            if now >= TABLE_LATENCY:
                value, rise = TABLE[seen["table"][-1 - TABLE_LATENCY][n]]
                ctx.set(port.data, {"value": value, "rise": rise})
            ctx.set(port.parity_error, flags >> n & 1)
        assert ctx.get(post.table_errors) == flags & script.used[now], now

    def compare(self, ctx: Any, now: int) -> None:
        script, post = self.script, self.post
        for name in ("write_x", "write_u", "write_state", "write_logits"):
            port, expected = getattr(post, name), script.expected[name].get(now)
            if expected is None:
                assert ctx.get(port.enable) == 0, (name, now)
            else:
                assert members(ctx, port, expected) == expected, (name, now)
        expected = script.expected["elements"].get(now)
        if expected is None:
            assert ctx.get(post.elements.valid) == 0, now
        else:
            got = members(ctx, post.elements, expected)
            assert kept(got) == kept(expected), now
        for site in POST_SITES:
            flags = ctx.get(getattr(post.saturations, site))
            assert flags == script.expected[site].get(now, 0), (site, now)
        assert ctx.get(post.logits_done) == script.expected["logits_done"].get(now, 0)
        if now in script.expected["row"]:
            assert ctx.get(post.row) == script.expected["row"][now]

    def remember(self, ctx: Any) -> None:
        """Writes reach the memories after this cycle."""
        for memory, port in ((self.x, self.post.write_x), (self.state, self.post.write_state)):
            if ctx.get(port.enable):
                values = to_python(ctx.get(port.data))
                first = ctx.get(port.group) * len(values)
                memory[first : first + len(values)] = values


def members(ctx: Any, port: Any, names: dict[str, Any]) -> dict[str, Any]:
    """The members of a port that are named: arrays of cuts as packed integers."""
    found = {}
    for name in names:
        value = getattr(port, name)
        if name in ("data", "value", "base"):
            found[name] = [
                ctx.get(element.as_value()) if hasattr(element, "as_value") else ctx.get(element)
                for element in (value[p] for p in range(value.shape().length))
            ]
        else:
            found[name] = ctx.get(value)
    return found


def kept(elements: dict[str, Any]) -> dict[str, Any]:
    """Without the values of padding."""
    return {
        name: [v if elements["keep"] >> p & 1 else 0 for p, v in enumerate(value)]
        if isinstance(value, list)
        else value
        for name, value in elements.items()
    }


@pytest.mark.parametrize(("rows", "width"), [(4, 1), (10, 2), (4, 4)])
def test_tokens_cycle_by_cycle(rows: int, width: int) -> None:
    """Two tokens of two layers: every write, element and flag in its cycle, and nothing else."""
    design = small_design(
        rows, 4, INTERMEDIATE, post_width=width, max_rows=32, embedding_width=HIDDEN,
        state_words=64 // width, value_bits=32, arithmetic="absmax",
    )  # fmt: skip
    script, post = Script(design, rows * 8 + width), Post(design)
    for token in range(2):
        script.start(begin=1 - token, temperature=(64, 255)[token])
        script.segment("gates", HIDDEN)
        script.segment("output", HIDDEN)
        script.segment("glu", INTERMEDIATE)
        script.segment("output", HIDDEN)
        script.segment("head", WORDS)
    world = World(script, post)

    async def bench(ctx: Any) -> None:
        for now in range(script.now):
            world.set_inputs(ctx, now)
            world.answer(ctx, now)
            world.compare(ctx, now)
            world.remember(ctx)
            await ctx.tick()

    simulate(post, bench)
    assert world.bound == len(script.bounds)
    assert set(script.saturations) == set(POST_SITES)
    assert all(script.saturations.values())

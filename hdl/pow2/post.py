"""Post-processing: from requantized values to the vector that the next segment reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from hdl.arithmetic.argmax import KEY_BITS, Argmax, argmax_latency
from hdl.arithmetic.noise import LATENCY as NOISE_LATENCY
from hdl.arithmetic.requantize import LATENCY as REQUANTIZE_LATENCY
from hdl.arithmetic.requantize import Requantize, saturate
from hdl.fabric.pipeline import copies, delay
from hdl.fabric.technology import Technology, technology_of
from hdl.interface import GATES, HEAD, START_CYCLES, TEMPERATURE_BITS, head_rows, tag_layout
from hdl.memory.vectors import group_write
from hdl.pow2.forget_gate import (
    BY_TABLE,
    FORGET_BITS,
    GATE_BITS,
    INDEX_LATENCY,
    TABLE_LATENCY,
    ForgetGate,
)
from hdl.pow2.forget_gate import LATENCY as FORGET_LATENCY
from hdl.pow2.gated_product import LATENCY as PRODUCT_LATENCY
from hdl.pow2.gated_product import OPERAND_BITS, GatedProduct
from hdl.pow2.update_state import LATENCY as UPDATE_LATENCY
from hdl.pow2.update_state import UpdateState
from mmfree.chip.design import Design
from mmfree.contract.pow2 import DEFAULT_FORMATS, SATURATION_SITES

POST_SITES = tuple(site for site in SATURATION_SITES if site != "quantizer")

X_LATENCY, BIAS_LATENCY, STATE_LATENCY = 4, 2, 2
"""Cycles from an address to its value; biases and state are registered once more here."""

EARLY = START_CYCLES - 1
"""Cycles from ``vector_done`` to the write of the vector's last value."""

_INDEX_SHIFT = DEFAULT_FORMATS.state_fb - DEFAULT_FORMATS.index_fb
_SIGMOID, _SILU = 0, 1  # top bit of a table address


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Cycles from a tag to each stage of its values.

    ``z``: requantized. ``entry``: table entry or f at the buffer. ``ready``: c, f and h together.
    ``updated``: h'. ``squashed``: the SiLU entry of h'. ``key``: logit + noise. ``residual``,
    ``glu``, ``gates``: the segment's write. ``head``: the row of the largest key.
    """

    z: int
    entry: int
    ready: int
    updated: int
    squashed: int
    key: int
    residual: int
    glu: int
    gates: int
    head: int

    @classmethod
    def of(cls, width: int) -> Stages:
        """Of P outputs per cycle."""
        entry = REQUANTIZE_LATENCY + FORGET_LATENCY
        updated = entry + 1 + UPDATE_LATENCY
        squashed = updated + INDEX_LATENCY + TABLE_LATENCY
        product = 1 + PRODUCT_LATENCY
        key = NOISE_LATENCY + product
        assert key >= REQUANTIZE_LATENCY
        return cls(
            z=REQUANTIZE_LATENCY,
            entry=entry,
            ready=entry + 1,
            updated=updated,
            squashed=squashed,
            key=key,
            residual=REQUANTIZE_LATENCY + 2,
            glu=entry + 1 + product,
            gates=squashed + product,
            head=key + 1 + argmax_latency(width),
        )


class Post(wiring.Component):
    """Takes P accumulators per cycle through the operation of their segment.

    ::

        acc -> Requantize -> z --+--------------------------> + x, saturate -> x      (o, down)
                                 +--------------------------> logits, + noise, Argmax (head)
                                 +-> ForgetGate <-> tables -> c, f wait in a buffer   (i, f, gate)
                                 +-> UpdateState -> h' -> SiLU -+
                                 +------------------------------+-> GatedProduct -> u (g, up)

    Ports: ``tag``, ``acc``, ``multiplier``, ``shift``, ``wide`` of RowBlocks; ``kind`` and ``gate``
    of the header; ``restart`` (a token begins: biases, state and Argmax from the start), ``begin``
    (h reads as 0); ``entry`` of the Noise (NOISE_LATENCY cycles after ``tag``) and ``temperature``;
    ``embedding`` (writes of the residual vector at a token's start, passed on a cycle later);
    addresses and answers of the memories: ``table_address`` / ``table_entry`` (2 P, TABLE_LATENCY
    cycles), ``x_group`` / ``x`` (X_LATENCY), ``bias_address`` / ``bias`` (BIAS_LATENCY), with
    ``table_used`` and ``bias_used`` when answers count; ``state_address`` / ``state``
    (STATE_LATENCY); writes ``write_x``, ``write_u``, ``write_state``, ``write_logits``;
    ``vector_done`` (the vector's last value is written EARLY cycles later), ``logits_done``
    (``next_row`` is that of the largest key); ``saturations`` (flags per site). P values per cycle,
    never stalls. ``stages``: cycles from ``tag`` on. After reset nothing is in progress.
    """

    def __init__(self, design: Design) -> None:
        self._design = design
        width = design.post_width
        values = data.ArrayLayout(signed(16), width)
        groups = design.max_blocks * design.groups_per_block
        x_groups = design.embedding_tiles * design.columns // width
        u_groups = design.max_tiles * design.columns // width
        state_words = range(max(2, design.state_words))
        super().__init__(
            {
                "tag": In(tag_layout(design)),
                "acc": In(data.ArrayLayout(signed(design.accumulator_bits), width)),
                "multiplier": In(9),
                "shift": In(5),
                "wide": In(1),
                "kind": In(3),
                "gate": In(GATE_BITS),
                "restart": In(1),
                "begin": In(1),
                "entry": In(data.ArrayLayout(signed(14), width)),
                "temperature": In(TEMPERATURE_BITS),
                "embedding": In(group_write(width, x_groups)),
                "table_address": Out(data.ArrayLayout(unsigned(9), 2 * width)),
                "table_entry": In(data.ArrayLayout(signed(16), 2 * width)),
                "x_group": Out(range(max(2, groups))),
                "x": In(values),
                "bias_address": Out(range(max(2, design.bias_words))),
                "bias": In(values),
                "bias_used": Out(1),
                "table_used": Out(2 * width),
                "state_address": Out(state_words),
                "state": In(values),
                "write_x": Out(group_write(width, x_groups)),
                "write_u": Out(group_write(width, u_groups)),
                "write_state": Out(group_write(width, design.state_words)),
                "write_logits": Out(group_write(width, groups)),
                "vector_done": Out(1),
                "logits_done": Out(1),
                "next_row": Out(head_rows(design)),
                "saturations": Out(data.StructLayout(dict.fromkeys(POST_SITES, width))),
            }
        )
        self.requantize = Requantize(design.accumulator_bits, width)
        self.forget_gate = ForgetGate(width)
        self.update_state = UpdateState(width)
        self.gated_product = GatedProduct(width)
        self.argmax = Argmax(width, len(self.tag.group))
        self.stages = Stages.of(width)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.requantize = requantize = self.requantize
        m.submodules.forget_gate = self.forget_gate
        m.submodules.update_state = self.update_state
        m.submodules.gated_product = self.gated_product
        m.submodules.argmax = self.argmax
        m.d.comb += [
            requantize.acc.eq(self.acc),
            requantize.scale.eq(self.multiplier),
            requantize.shift.eq(self.shift),
            requantize.wide.eq(self.wide),
        ]
        # tags[n]: the tag of the values that entered n cycles ago.
        tags = [self.tag]
        for _ in range(max(self.stages.squashed, self.stages.key + 1)):
            tags.append(delay(m, tags[-1], 1, reset=True))
        tag = tags[self.stages.z]
        over = Mux(tag.valid, requantize.saturated & tag.keep, 0)
        m.d.comb += [
            self.saturations.projection.eq(Mux(tag.role.logit, 0, over)),
            self.saturations.logit.eq(Mux(tag.role.logit, over, 0)),
        ]
        ends = [
            self._residual(m, tags),
            self._products(m, technology_of(platform), tags, *self._gates(m, tags)),
        ]
        m.d.comb += self.vector_done.eq(Cat(ends).any())
        self._logits(m, tags)
        return m

    def _residual(self, m: Module, tags: list[Any]) -> Value:
        """o and down: x + y; returns the flag of the vector's end, EARLY cycles before it."""
        m.d.comb += self.x_group.eq(tags[self.stages.z - X_LATENCY].group)
        tag = tags[self.stages.z + 1]
        active = tag.valid & tag.role.residual
        write = self.write_x
        m.d.sync += [
            write.group.eq(Mux(active, tag.group, self.embedding.group)),
            write.enable.eq(Mux(active, tag.keep[0], self.embedding.enable)),
            write.keep.eq(Mux(active, tag.keep, self.embedding.keep)),
        ]
        for p in range(self._design.post_width):
            total = Signal(signed(17), reset_less=True, name=f"residual_{p}")
            m.d.sync += total.eq(self.requantize.z[p] + self.x[p])
            value, over = saturate(total, 16)
            m.d.sync += [
                write.data[p].eq(Mux(active, value, self.embedding.data[p])),
                self.saturations.residual[p].eq(active & tag.keep[p] & over),
            ]
        ending = tags[self.stages.residual - EARLY]
        return ending.valid & ending.role.residual & ending.end

    def _logits(self, m: Module, tags: list[Any]) -> None:
        """Head: logits and the next token."""
        argmax, tag = self.argmax, tags[self.stages.z]
        keyed = tags[self.stages.key + 1]
        active = keyed.valid & keyed.role.logit
        m.d.comb += [
            self.write_logits.group.eq(tag.group),
            self.write_logits.data.eq(self.requantize.z),
            self.write_logits.keep.eq(tag.keep),
            self.write_logits.enable.eq(tag.valid & tag.role.logit),
            argmax.clear.eq(self.restart),
            argmax.valid.eq(active),
            argmax.keep.eq(keyed.keep),
            argmax.group.eq(keyed.group),
            self.next_row.eq(argmax.row),
            self.logits_done.eq(delay(m, active & keyed.end, argmax.latency, reset=True)),
        ]
        for p in range(self._design.post_width):
            key = Signal(signed(KEY_BITS), reset_less=True, name=f"key_{p}")
            logit = delay(m, self.requantize.z[p], self.stages.key - self.stages.z)
            m.d.sync += key.eq(logit + self.gated_product.u[p])
            m.d.comb += argmax.keys[p].eq(key)

    def _gates(self, m: Module, tags: list[Any]) -> tuple[Value, Value]:
        """i, f and gate: table entries and f into the buffer.

        Returns what the buffer gives for g and up: (SiLU entry, f), ``ready`` cycles after their
        tag.
        """
        gate, width = self.forget_gate, self._design.post_width
        early, tag = tags[self.stages.z - 1 - BIAS_LATENCY], tags[self.stages.z]
        biased = tags[self.stages.z - 1]
        bias = Signal.like(self.bias, reset_less=True)
        m.d.sync += bias.as_value().eq(Mux(biased.role.forget, self.bias.as_value(), 0))
        m.d.comb += [
            self.bias_address.eq(
                self._pointer(m, early.valid & early.role.forget, self._design.bias_words)
            ),
            self.bias_used.eq(biased.valid & biased.role.forget),
            gate.z.eq(self.requantize.z),
            gate.bias.eq(bias),
            gate.gate.eq(Mux(tag.role.forget, self.gate, BY_TABLE)),
        ]
        looked_up = tags[self.stages.z + INDEX_LATENCY]
        for p in range(width):
            select = Mux(looked_up.role.forget, _SIGMOID, _SILU)
            m.d.comb += [
                self.table_address[p].eq(Cat(gate.index[p], select)),
                gate.entry[p].eq(self.table_entry[p]),
            ]
        answered, late = (
            tags[self.stages.z + INDEX_LATENCY + TABLE_LATENCY],
            tags[self.stages.entry],
        )
        by_table = answered.role.table | (answered.role.forget & (self.gate == BY_TABLE))
        m.d.comb += [
            self.saturations.gate.eq(
                Mux(late.valid & late.role.forget, gate.saturated & late.keep, 0)
            ),
            self.table_used[:width].eq(Mux(answered.valid & by_table, answered.keep, 0)),
        ]
        forgets = Cat(gate.o[p][:FORGET_BITS] for p in range(width))
        entry = self._buffer(m, "entries", late, late.role.table, gate.o.as_value())
        forget = self._buffer(m, "forgets", late, late.role.forget, forgets)
        return entry, forget

    def _buffer(self, m: Module, name: str, tag: Any, write: Value, values: Value) -> Value:
        """Values of a row block, kept until the row block of their operands comes."""
        depth = max(2, self._design.groups_per_block)
        m.submodules[name] = words = memory.Memory(
            shape=unsigned(len(values)), depth=depth, init=[]
        )
        write_port, read_port = words.write_port(), words.read_port()
        m.d.comb += [
            write_port.addr.eq(tag.slot),
            write_port.data.eq(values),
            write_port.en.eq(tag.valid & write),
            read_port.addr.eq(tag.slot),
        ]
        return read_port.data

    def _products(
        self, m: Module, technology: Technology, tags: list[Any], entry: Value, forget: Value
    ) -> Value:
        """g and up: the new state and the product; returns the end flag, EARLY cycles before it."""
        width, update = self._design.post_width, self.update_state
        gates = Signal()
        m.d.sync += gates.eq(self.kind == GATES)
        asking = tags[self.stages.ready - 1 - STATE_LATENCY]
        pointer = self._pointer(
            m, asking.valid & asking.role.operand & gates, self._design.state_words
        )
        m.d.comb += self.state_address.eq(pointer)
        state = Signal.like(self.state, reset_less=True)
        m.d.sync += state.as_value().eq(Mux(self.begin, 0, self.state.as_value()))
        for p in range(width):
            m.d.comb += [
                update.c[p].eq(entry.word_select(p, 16)),
                update.f[p].eq(forget.word_select(p, FORGET_BITS).as_signed()),
                update.h[p].eq(state[p]),
            ]
        updated = tags[self.stages.updated]
        m.d.comb += [
            self.write_state.group.eq(delay(m, pointer, STATE_LATENCY + 1 + update.latency)),
            self.write_state.data.eq(update.o),
            self.write_state.keep.eq(updated.keep),
            self.write_state.enable.eq(updated.valid & updated.role.operand & gates),
        ]
        # The table's index: rounded, then saturated.
        indexed = tags[self.stages.updated + 1]
        counts = indexed.valid & indexed.role.operand & gates
        for p in range(width):
            rounded = Signal(signed(17 - _INDEX_SHIFT), reset_less=True, name=f"rounded_{p}")
            index = Signal(8, reset_less=True, name=f"state_index_{p}")
            value, over = saturate(rounded, 8)
            m.d.sync += [
                rounded.eq((update.o[p] + (1 << (_INDEX_SHIFT - 1))) >> _INDEX_SHIFT),
                index.eq(value),
            ]
            m.d.comb += [
                self.table_address[width + p].eq(Cat(index, _SILU)),
                self.saturations.state[p].eq(counts & indexed.keep[p] & over),
            ]
        squashed = tags[self.stages.squashed]
        used = squashed.valid & squashed.role.operand & gates
        m.d.comb += self.table_used[width:].eq(Mux(used, squashed.keep, 0))
        return self._gated_product(m, technology, gates, tags[self.stages.ready], squashed, entry)

    def _gated_product(
        self,
        m: Module,
        technology: Technology,
        gates: Value,
        ready: Any,
        squashed: Any,
        entry: Value,
    ) -> Value:
        """u from the operand and the SiLU of h' (``squashed``: its tag) or of gate (``ready``).

        In the head, the noise from Gumbel entry and temperature. Returns the flag of the vector's
        end, EARLY cycles before its write.
        """
        width, product = self._design.post_width, self.gated_product
        kinds = copies(m, technology, Cat(self.kind == GATES, self.kind == HEAD), width)
        for p, (own_gates, head) in enumerate(kinds):
            z_ready = delay(
                m, self.requantize.z[p][:8].as_signed(), self.stages.ready - self.stages.z
            )
            z_squashed = delay(m, z_ready, self.stages.squashed - self.stages.ready)
            value = Mux(
                own_gates, self.table_entry[width + p], entry.word_select(p, 16).as_signed()
            )
            operand = Signal(signed(OPERAND_BITS), name=f"operand_{p}")
            m.d.comb += operand.eq(Mux(head, self.temperature, Mux(own_gates, z_squashed, z_ready)))
            m.d.sync += [
                product.value[p].eq(Mux(head, self.entry[p], value)),
                product.operand[p].eq(operand),
            ]
        tag = Signal.like(ready)
        m.d.sync += tag.eq(Mux(gates, squashed.as_value(), ready.as_value()))
        ending = delay(m, tag, product.latency - EARLY, reset=True)
        done = delay(m, ending, EARLY, reset=True)
        active = done.valid & done.role.operand
        m.d.comb += [
            self.write_u.group.eq(done.group),
            self.write_u.data.eq(product.u),
            self.write_u.keep.eq(done.keep),
            # A group of padding alone may lie beyond the vector's memory.
            self.write_u.enable.eq(active & done.keep[0]),
            self.saturations.product.eq(Mux(active, product.saturated & done.keep, 0)),
        ]
        return ending.valid & ending.role.operand & ending.end

    def _pointer(self, m: Module, step: Value, words: int) -> Signal:
        """Number of the next word of a memory that is read in order, once per token."""
        pointer = Signal(range(max(2, words)))
        with m.If(self.restart):
            m.d.sync += pointer.eq(0)
        with m.Elif(step):
            m.d.sync += pointer.eq(pointer + 1)
        return pointer

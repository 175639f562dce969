"""Post-processing: from requantized values to the vector that the next segment reads."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from hdl.argmax import KEY_BITS, Argmax
from hdl.forget_gate import BY_TABLE, FORGET_BITS, GATE_BITS, TABLE_LATENCY, ForgetGate
from hdl.gated_product import GatedProduct
from hdl.noise import NOISE_BITS
from hdl.pipeline import delay
from hdl.requantize import Requantize, saturate
from hdl.requests import head_rows
from hdl.row_blocks import GATES, tag_layout
from hdl.update_state import UpdateState
from mmfree.design import Design
from mmfree.formats import (
    DEFAULT_FORMATS,
    INT8_MAX,
    INT8_MIN,
    INT16_MAX,
    INT16_MIN,
    SATURATION_SITES,
)

POST_SITES = tuple(site for site in SATURATION_SITES if site != "quantizer")
X_LATENCY = 2
"""Cycles from ``x_group`` to ``x``."""

_INDEX_SHIFT = DEFAULT_FORMATS.state_fb - DEFAULT_FORMATS.index_fb
_SIGMOID, _SILU = 0, 1  # top bit of a table address


def group_write(width: int, groups: range) -> wiring.Signature:
    """Write of P values: number of the group, P flags, P int16."""
    return wiring.Signature(
        {
            "group": Out(groups),
            "enable": Out(width),
            "data": Out(data.ArrayLayout(signed(16), width)),
        }
    )


class Post(wiring.Component):
    """Takes P accumulators per cycle through the operation of their segment.

    ::

        acc -> Requantize -> z --+--------------------------> + x, saturate -> x      (o, down)
                                 +--------------------------> logits, + noise, Argmax (head)
                                 +-> ForgetGate <-> tables -> c, f wait in a buffer   (i, f, gate)
                                 +-> UpdateState -> h' -> SiLU -+
                                 +------------------------------+-> GatedProduct -> u (g, up)

    Ports: ``tag``, ``acc``, ``multiplier``, ``shift``, ``wide`` of RowBlocks; ``kind`` and ``gate`` of the header; ``restart`` (a token begins: biases, state and
    Argmax from the start), ``begin`` (h reads as 0); ``noise`` (Requantize's latency after ``tag``); addresses and answers of the memories: ``table_address`` / ``table_entry`` (2 P, TABLE_LATENCY cycles),
    ``x_group`` / ``x`` (X_LATENCY), ``bias_address`` / ``bias``, with ``table_used`` and ``bias_used`` when answers count; ``state_address`` / ``state`` (one cycle); writes ``write_x``, ``write_u``, ``write_state``,
    ``write_logits``; ``vector_done`` (the segment's last value is written in this cycle); ``next_row``; ``saturations`` (flags per site).
    P values per cycle, never stalls. Latency, with Z that of Requantize: Z + 2 (o, down), Z + 3 (head), Z + 10 (up), Z + 20 (g) cycles. After reset nothing is under way.
    """

    def __init__(self, design: Design) -> None:
        self._design = design
        width = design.post_width
        values = data.ArrayLayout(signed(16), width)
        groups = range(max(2, design.max_blocks * design.groups_per_block))
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
                "noise": In(data.ArrayLayout(signed(NOISE_BITS), width)),
                "table_address": Out(data.ArrayLayout(unsigned(9), 2 * width)),
                "table_entry": In(data.ArrayLayout(signed(16), 2 * width)),
                "x_group": Out(groups),
                "x": In(values),
                "bias_address": Out(range(max(2, design.bias_words))),
                "bias": In(values),
                "bias_used": Out(1),
                "table_used": Out(2 * width),
                "state_address": Out(state_words),
                "state": In(values),
                "write_x": Out(group_write(width, groups)),
                "write_u": Out(group_write(width, groups)),
                "write_state": Out(group_write(width, state_words)),
                "write_logits": Out(group_write(width, groups)),
                "vector_done": Out(1),
                "next_row": Out(head_rows(design)),
                "saturations": Out(data.StructLayout(dict.fromkeys(POST_SITES, width))),
            }
        )
        self.requantize = Requantize(design.accumulator_bits, width)
        self.forget_gate = ForgetGate(width)
        self.update_state = UpdateState(width)
        self.gated_product = GatedProduct(width)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.requantize = requantize = self.requantize
        m.submodules.forget_gate = self.forget_gate
        m.submodules.update_state = self.update_state
        m.submodules.gated_product = self.gated_product
        m.d.comb += [
            requantize.acc.eq(self.acc),
            requantize.scale.eq(self.multiplier),
            requantize.shift.eq(self.shift),
            requantize.wide.eq(self.wide),
        ]
        early = delay(m, self.tag, requantize.latency - 1, reset=True)
        tag = delay(m, early, 1, reset=True)
        over = Mux(tag.valid, requantize.saturated & tag.keep, 0)
        m.d.comb += [
            self.saturations.projection.eq(Mux(tag.role.logit, 0, over)),
            self.saturations.logit.eq(Mux(tag.role.logit, over, 0)),
        ]
        ends = [
            self._residual(m, early, tag),
            self._logits(m, tag),
            self._products(m, *self._gates(m, early, tag)),
        ]
        m.d.comb += self.vector_done.eq(Cat(ends).any())
        return m

    def _residual(self, m: Module, early: Any, tag: Any) -> Value:
        """o and down: x + y. Returns the flag of the segment's last write."""
        m.d.comb += self.x_group.eq(early.group)
        late = delay(m, tag, X_LATENCY, reset=True)
        z = delay(m, self.requantize.z, X_LATENCY - 1)
        active = late.valid & late.role.residual
        for p in range(self._design.post_width):
            total = Signal(signed(17), reset_less=True, name=f"residual_{p}")
            m.d.sync += total.eq(z[p] + self.x[p])
            value, over = saturate(total, INT16_MIN, INT16_MAX)
            m.d.comb += [
                self.write_x.data[p].eq(value),
                self.write_x.enable[p].eq(active & late.keep[p]),
                self.saturations.residual[p].eq(active & late.keep[p] & over),
            ]
        m.d.comb += self.write_x.group.eq(late.group)
        return active & late.end

    def _logits(self, m: Module, tag: Any) -> Value:
        """Head: logits and the next token. Returns the flag of the segment's last write."""
        m.submodules.argmax = argmax = Argmax(self._design.post_width, len(tag.group))
        active = tag.valid & tag.role.logit
        m.d.comb += [
            self.write_logits.group.eq(tag.group),
            self.write_logits.data.eq(self.requantize.z),
            self.write_logits.enable.eq(Mux(active, tag.keep, 0)),
            argmax.clear.eq(self.restart),
            argmax.valid.eq(delay(m, active, 1, reset=True)),
            argmax.keep.eq(delay(m, tag.keep, 1)),
            argmax.group.eq(delay(m, tag.group, 1)),
            self.next_row.eq(argmax.row),
        ]
        for p in range(self._design.post_width):
            key = Signal(signed(KEY_BITS), reset_less=True, name=f"key_{p}")
            m.d.sync += key.eq(self.requantize.z[p] + self.noise[p])
            m.d.comb += argmax.keys[p].eq(key)
        return delay(m, active & tag.end, 1 + argmax.LATENCY, reset=True)

    def _gates(self, m: Module, early: Any, tag: Any) -> tuple[Any, Value, Value]:
        """i, f and gate: table entries into the buffer. Returns, for g and up, their tag and the buffered (SiLU entry, f), one cycle after it."""
        gate, width = self.forget_gate, self._design.post_width
        m.d.comb += [
            self.bias_address.eq(
                self._pointer(m, early.valid & early.role.forget, self._design.bias_words)
            ),
            self.bias_used.eq(tag.valid & tag.role.forget),
            gate.z.eq(self.requantize.z),
            gate.bias.eq(Mux(tag.role.forget, self.bias.as_value(), 0)),
            gate.gate.eq(Mux(tag.role.forget, self.gate, BY_TABLE)),
        ]
        looked_up = delay(m, tag, 1, reset=True)
        for p in range(width):
            select = Mux(looked_up.role.forget, _SIGMOID, _SILU)
            m.d.comb += [
                self.table_address[p].eq(Cat(gate.index[p], select)),
                gate.entry[p].eq(self.table_entry[p]),
            ]
        late = delay(m, looked_up, TABLE_LATENCY, reset=True)
        over = Mux(late.valid & late.role.forget, gate.saturated & late.keep, 0)
        by_table = late.role.table | (late.role.forget & (self.gate == BY_TABLE))
        m.d.comb += [
            self.saturations.gate.eq(over),
            self.table_used[:width].eq(Mux(late.valid & by_table, late.keep, 0)),
        ]

        forgets = Cat(gate.o[p][:FORGET_BITS] for p in range(width))
        entry = self._buffer(m, "entries", late, late.role.table, gate.o.as_value())
        forget = self._buffer(m, "forgets", late, late.role.forget, forgets)
        return late, entry, forget

    def _buffer(self, m: Module, name: str, tag: Any, write: Value, values: Value) -> Value:
        """Values of a row block, kept until the block of their operands passes."""
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

    def _products(self, m: Module, tag: Any, entry: Value, forget: Value) -> Value:
        """g and up: the new state, and the product. Returns the flag of the segment's last write."""
        width, update = self._design.post_width, self.update_state
        gates = self.kind == GATES
        active = tag.valid & tag.role.operand
        pointer = self._pointer(m, active & gates, self._design.state_words)
        m.d.comb += self.state_address.eq(pointer)
        # Cycle 0: c, f and h have arrived.
        for p in range(width):
            m.d.comb += [
                update.c[p].eq(entry.word_select(p, 16)),
                update.f[p].eq(forget.word_select(p, FORGET_BITS).as_signed()),
                update.h[p].eq(Mux(self.begin, 0, self.state[p])),
            ]
        ready = delay(m, tag, 1, reset=True)
        updated = delay(m, ready, update.latency, reset=True)
        write = Mux(updated.valid & updated.role.operand & gates, updated.keep, 0)
        m.d.comb += [
            self.write_state.group.eq(delay(m, pointer, 1 + update.latency)),
            self.write_state.data.eq(update.o),
            self.write_state.enable.eq(write),
        ]
        for p in range(width):
            rounded = (update.o[p] + (1 << (_INDEX_SHIFT - 1))) >> _INDEX_SHIFT
            index, over = saturate(rounded, INT8_MIN, INT8_MAX)
            register = Signal(8, reset_less=True, name=f"state_index_{p}")
            m.d.sync += register.eq(index)
            m.d.comb += [
                self.table_address[width + p].eq(Cat(register, _SILU)),
                self.saturations.state[p].eq(write[p] & over),
            ]
        squashed = delay(m, updated, 1 + TABLE_LATENCY, reset=True)
        used = squashed.valid & squashed.role.operand & gates
        m.d.comb += self.table_used[width:].eq(Mux(used, squashed.keep, 0))
        return self._gated_product(m, gates, ready, squashed, entry)

    def _gated_product(self, m: Module, gates: Value, ready: Any, squashed: Any, entry: Value) -> Value:
        """u from the operand and SiLU of h' (``squashed``: its tag) or of gate (``ready``)."""
        width, product = self._design.post_width, self.gated_product
        z_to_ready = self.forget_gate.latency + 1
        z_ready = delay(m, self.requantize.z, z_to_ready)
        z_squashed = delay(m, z_ready, self.update_state.latency + 1 + TABLE_LATENCY)
        for p in range(width):
            value = Mux(gates, self.table_entry[width + p], entry.word_select(p, 16).as_signed())
            operand = Mux(gates, z_squashed[p], z_ready[p])
            m.d.sync += [product.value[p].eq(value), product.operand[p].eq(operand[:8])]
        tag = Signal.like(ready)
        m.d.sync += tag.eq(Mux(gates, squashed.as_value(), ready.as_value()))
        done = delay(m, tag, product.latency, reset=True)
        active = done.valid & done.role.operand
        m.d.comb += [
            self.write_u.group.eq(done.group),
            self.write_u.data.eq(product.u),
            self.write_u.enable.eq(Mux(active, done.keep, 0)),
            self.saturations.product.eq(Mux(active, product.saturated & done.keep, 0)),
        ]
        return active & done.end

    def _pointer(self, m: Module, step: Value, words: int) -> Signal:
        """Number of the next word of a memory read in order once per token."""
        pointer = Signal(range(max(2, words)))
        with m.If(self.restart):
            m.d.sync += pointer.eq(0)
        with m.Elif(step):
            m.d.sync += pointer.eq(pointer + 1)
        return pointer

"""One instance of every component in hdl/, small, to look at and to convert."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache

from amaranth.lib import wiring
from amaranth.lib.wiring import In

import hdl
from hdl.absmax.activations import Activations as AbsmaxActivations
from hdl.absmax.gates import Gates as AbsmaxGates
from hdl.absmax.norm.elements import Elements
from hdl.absmax.norm.gains import GainUnit
from hdl.absmax.norm.largest import Largest
from hdl.absmax.norm.scalars import Scalars
from hdl.absmax.norm.squares import SquareBins, SquareGroup, Squares, SumRead
from hdl.absmax.post import Post as AbsmaxPost
from hdl.absmax.products import Products as AbsmaxProducts
from hdl.absmax.quantizer import Quantizer as AbsmaxQuantizer
from hdl.absmax.requantize import Requantize as AbsmaxRequantize
from hdl.absmax.row_scale import RowScale
from hdl.absmax.sigmoid import Sigmoid
from hdl.absmax.update_state import UpdateState as AbsmaxUpdateState
from hdl.accelerator import Accelerator
from hdl.arithmetic.argmax import Argmax
from hdl.arithmetic.cut import Cut
from hdl.arithmetic.noise import Noise
from hdl.arithmetic.product import Product
from hdl.arithmetic.reciprocal_root import ReciprocalRoot
from hdl.arithmetic.requantize import Requantize
from hdl.arithmetic.square import Square
from hdl.arithmetic.unsigned_square import UnsignedSquare
from hdl.array.decoder import Decoder
from hdl.array.row_blocks import RowBlocks
from hdl.array.ternary_array import TernaryArray
from hdl.boards.clock import ECP5Clock
from hdl.boards.pll import pll_for
from hdl.boards.system import System
from hdl.control.counters import Counters
from hdl.control.faults import Faults
from hdl.control.requests import Requests
from hdl.control.sequencer import Sequencer
from hdl.interface import (
    BlockSums,
    CurrentSegment,
    EmbeddingRow,
    FirstFault,
    GroupWrite,
    LoadAccess,
    LogitsAccess,
    MemorySettings,
    NormScale,
    ScaledRows,
    SeedAccess,
    StateAccess,
    Tiles,
    VectorRead,
)
from hdl.link.host_ports import ACCESS, HostPorts
from hdl.link.register_map import register_map
from hdl.link.register_port import RegisterPort
from hdl.link.serial import Receiver, Transmitter
from hdl.memory.block_memory import BlockMemory, PartWrite, ReadPort
from hdl.memory.embedding import Embedding
from hdl.memory.layer_biases import LayerBiases
from hdl.memory.load_port import LoadPort, LoadWrites
from hdl.memory.loaded_memory import CheckedRead, LoadedMemory, LoadWrite
from hdl.memory.parameters import ParameterBuffer, ParameterRead, Parameters
from hdl.memory.sources.axi import AxiSource
from hdl.memory.sources.axi_read import AxiRead
from hdl.memory.sources.block import BlockSource
from hdl.memory.sources.burst_reader import BurstReader
from hdl.memory.sources.embedding import StreamedEmbedding
from hdl.memory.sources.handshake import Handshake
from hdl.memory.sources.interface import WeightSource
from hdl.memory.sources.ring import Ring
from hdl.memory.sources.rows import RowSource
from hdl.memory.sources.settings import Settings
from hdl.memory.sources.watchdog import Watchdog
from hdl.memory.state_banks import StateBanks
from hdl.memory.vectors import GroupMemory, VectorMemory
from hdl.memory.weight_check import StreamCheck
from hdl.pow2.activations import Activations
from hdl.pow2.forget_gate import ForgetGate
from hdl.pow2.gated_product import GatedProduct
from hdl.pow2.gates import Gates
from hdl.pow2.post import Post
from hdl.pow2.products import Products
from hdl.pow2.quantizer import Quantizer
from hdl.pow2.rms_norm import RMSNorm
from hdl.pow2.token_shift import TokenShift
from hdl.pow2.update_state import UpdateState
from hdl.pow2.vector_size import VectorSize
from hdl.rows.logits import Logits
from hdl.rows.residual import Residual
from mmfree.chip.memory_map import loaded_shape
from mmfree.contract.pow2 import SATURATION_SITES
from tests.support.hdl.values import small_design
from tests.support.sim.shapes import ODD

DESIGN = ODD.design()
EXTERNAL = small_design(10, 8, 8, weight_code="1.6", memory="axi64x2")
SHIFTED = replace(DESIGN, token_shift=3)
ABSMAX = replace(DESIGN, arithmetic="absmax", value_bits=32)
WIDTH, COLUMNS = DESIGN.post_width, DESIGN.columns
PLL = pll_for(25e6, 50e6)


COMPONENTS: dict[type[wiring.Component], Callable[[], wiring.Component]] = {
    AbsmaxActivations: lambda: AbsmaxActivations(ABSMAX),
    AbsmaxGates: lambda: AbsmaxGates(ABSMAX),
    AbsmaxPost: lambda: AbsmaxPost(ABSMAX),
    AbsmaxProducts: lambda: AbsmaxProducts(ABSMAX),
    AbsmaxQuantizer: lambda: AbsmaxQuantizer(COLUMNS),
    AbsmaxRequantize: lambda: AbsmaxRequantize(ABSMAX.accumulator_bits, WIDTH),
    AbsmaxUpdateState: lambda: AbsmaxUpdateState(WIDTH),
    Accelerator: lambda: Accelerator(DESIGN),
    Activations: lambda: Activations(DESIGN),
    Argmax: lambda: Argmax(WIDTH, 4, 17),
    AxiSource: lambda: AxiSource(EXTERNAL),
    BlockMemory: lambda: BlockMemory("words", part_bits=9, parts=2, depth=16),
    BlockSource: lambda: BlockSource(DESIGN),
    BurstReader: lambda: BurstReader(64, 8, depth=32, burst=4, repeats=True),
    Counters: lambda: Counters(dict.fromkeys(SATURATION_SITES, WIDTH), 100),
    Cut: lambda: Cut(32, WIDTH),
    Decoder: lambda: Decoder(DESIGN),
    ECP5Clock: lambda: ECP5Clock(PLL),
    Embedding: lambda: Embedding(DESIGN),
    Faults: lambda: Faults(DESIGN),
    ForgetGate: lambda: ForgetGate(WIDTH),
    GainUnit: lambda: GainUnit(ABSMAX),
    GatedProduct: lambda: GatedProduct(WIDTH),
    Gates: lambda: Gates(DESIGN),
    GroupMemory: lambda: GroupMemory(DESIGN, 4),
    Handshake: lambda: Handshake(2),
    Largest: lambda: Largest(ABSMAX),
    LayerBiases: lambda: LayerBiases(EXTERNAL),
    LoadPort: lambda: LoadPort(DESIGN),
    Logits: lambda: Logits(DESIGN, z_bits=16, noise_bits=16, ready=8, noise_ready=13),
    LoadedMemory: lambda: LoadedMemory("words", loaded_shape(DESIGN, "tables")),
    Noise: lambda: Noise(WIDTH),
    ParameterBuffer: lambda: ParameterBuffer(ABSMAX, "gains", depth=4, banks=2),
    Parameters: lambda: Parameters(ABSMAX),
    Post: lambda: Post(DESIGN),
    Product: lambda: Product(9, 8, addend_bits=7),
    Products: lambda: Products(DESIGN),
    Quantizer: lambda: Quantizer(COLUMNS),
    RMSNorm: lambda: RMSNorm(DESIGN),
    Receiver: lambda: Receiver(4),
    ReciprocalRoot: ReciprocalRoot,
    RegisterPort: lambda: RegisterPort(
        HostPorts(DESIGN), ACCESS, register_map(HostPorts(DESIGN), ACCESS)
    ),
    Requantize: lambda: Requantize(DESIGN.accumulator_bits, WIDTH),
    Requests: lambda: Requests(DESIGN),
    Residual: lambda: Residual(DESIGN, z_bits=16, ready=8, early=3),
    Ring: lambda: Ring(8, 16, 4),
    RowBlocks: lambda: RowBlocks(DESIGN),
    RowScale: lambda: RowScale(ABSMAX),
    RowSource: lambda: RowSource(EXTERNAL),
    Scalars: lambda: Scalars(ABSMAX),
    Sequencer: lambda: Sequencer(DESIGN),
    Settings: lambda: Settings(EXTERNAL),
    Sigmoid: lambda: Sigmoid(WIDTH),
    Square: Square,
    SquareBins: lambda: SquareBins(72),
    Squares: lambda: Squares(ABSMAX),
    StateBanks: lambda: StateBanks(DESIGN),
    StreamCheck: lambda: StreamCheck.of_weights(DESIGN),
    StreamedEmbedding: lambda: StreamedEmbedding(EXTERNAL),
    System: lambda: System(DESIGN, None, 4),
    TernaryArray: lambda: TernaryArray(DESIGN),
    Transmitter: lambda: Transmitter(4),
    UnsignedSquare: lambda: UnsignedSquare(18),
    UpdateState: lambda: UpdateState(WIDTH),
    VectorMemory: lambda: VectorMemory(DESIGN, 4),
    TokenShift: lambda: TokenShift(SHIFTED),
    VectorSize: lambda: VectorSize(DESIGN),
    Watchdog: lambda: Watchdog(9),
}
"""Component -> how to make a small one."""


SIGNATURES: dict[type[wiring.Signature], Callable[[], wiring.Signature]] = {
    AxiRead: lambda: AxiRead(64),
    BlockSums: lambda: BlockSums(DESIGN),
    CheckedRead: lambda: CheckedRead(8, 16),
    CurrentSegment: lambda: CurrentSegment(DESIGN),
    Elements: lambda: Elements(ABSMAX),
    EmbeddingRow: lambda: EmbeddingRow(DESIGN),
    FirstFault: lambda: FirstFault(DESIGN),
    GroupWrite: lambda: GroupWrite(DESIGN, 8),
    HostPorts: lambda: HostPorts(DESIGN),
    LoadAccess: lambda: LoadAccess(DESIGN),
    LoadWrite: lambda: LoadWrite(loaded_shape(DESIGN, "tables")),
    LoadWrites: lambda: LoadWrites(DESIGN),
    LogitsAccess: lambda: LogitsAccess(DESIGN),
    MemorySettings: lambda: MemorySettings(EXTERNAL),
    NormScale: lambda: NormScale(DESIGN),
    ParameterRead: lambda: ParameterRead(ABSMAX),
    PartWrite: lambda: PartWrite(8, 2, 18),
    ReadPort: lambda: ReadPort(8, 16),
    ScaledRows: lambda: ScaledRows(DESIGN),
    SeedAccess: SeedAccess,
    SquareGroup: lambda: SquareGroup(ABSMAX),
    StateAccess: lambda: StateAccess(DESIGN),
    SumRead: SumRead,
    Tiles: lambda: Tiles(DESIGN),
    VectorRead: lambda: VectorRead(DESIGN, 8, WIDTH),
    WeightSource: lambda: WeightSource(DESIGN),
}
"""Signature -> how to make a small one."""


@cache
def instance(kind: type[wiring.Component]) -> wiring.Component:
    """One to look at, kept: Amaranth warns of a component that goes and was never converted."""
    return COMPONENTS[kind]()


def classes_of(base: type) -> set[type]:
    """Every class of this base that a module of hdl/ defines."""
    for module in pkgutil.walk_packages(hdl.__path__, "hdl."):
        importlib.import_module(module.name)
    found, left = set(), [base]
    while left:
        for kind in left.pop().__subclasses__():
            left.append(kind)
            if kind.__module__.startswith("hdl."):
                found.add(kind)
    return found


def directions(signature: wiring.Signature) -> dict[str, str]:
    """Name of each member -> "in" or "out", in the order of the signature."""
    return {
        name: "in" if member.flow == In else "out" for name, member in signature.members.items()
    }

"""The sizes of one chip: everything that decides its Verilog, and of a model only the limits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from mmfree.chip.external_memory import BLOCK, ExternalMemory, find_memory
from mmfree.chip.weight_codes import find_code
from mmfree.contract.pow2 import LAYER_SEGMENTS, MAX_FAN_IN, VALUE_BITS, Formats
from mmfree.errors import InputError
from mmfree.files.objects import checked_fields

MAX_GROUP_ROWS = 5
"""Most rows of the array that share a weight memory (docs/decisions/0010).

Activations and addresses pass from each group of rows to the next, a cycle later.
"""

MIN_VALUE_BITS, MAX_VALUE_BITS = 16, 32
"""Least and most bits of a value of a vector."""

ARITHMETICS = {"pow2": VALUE_BITS, "absmax": 32}
"""Arithmetic of a design (docs/arithmetic.md, docs/arithmetic_absmax.md) -> its ``value_bits``."""

MAX_SIDE = 1024
"""Most rows, and most columns, of an array."""

_NO_SIZES = ("formats", "weight_code", "memory", "arithmetic", "stores_logits", "token_shift")
"""Fields of a design that are no sizes."""

MAX_WORDS = 1 << 28
"""Most words of a memory: the weights of the 370M shape at 4 lanes are a third of it."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """Sizes of an accelerator. A design plays every tape that fits them (``layout`` checks).

    Parameters
    ----------
    rows, columns
        R x C lanes: each cycle C activations meet R rows of weights. Columns are a power of two,
        at least 2.
    post_width
        P, outputs that the post-processing takes per cycle: a power of two that divides rows and
        columns.
    max_width
        Largest vector: hidden or intermediate size, in elements.
    max_rows
        Most rows of one matrix.
    weight_words
        Words of the weight memory, rows * columns weights each.
    header_words
        Entries of the segment table: one for the embedding and one per segment.
    embedding_rows
        Rows of the embedding memory.
    embedding_width
        Largest hidden size, in elements.
    bias_words, state_words
        Words of P values: gate biases of all layers (with an external memory: of one; in absmax
        lower bounds of one), and h in one bank of the state.
    weight_code
        How weights are stored: "2", "1.67" or "1.6" bits each (mmfree/chip/weight_codes.py).
    memory
        Where weights, embedding and biases are: "block" RAM, or an external memory (axi128x4 and
        the like), whose ports decide rows, columns and code.
    formats
        Number formats; only the default ones can be built yet.
    value_bits
        Width of a value of the vector x and of the state (in pow2 also of u). Tapes have that of
        ARITHMETICS: for another width there are blocks of pow2 alone (``layout`` refuses it).
    arithmetic
        Of the tapes that it plays: of ARITHMETICS.
    stores_logits
        Whether a host can read the logits of the last token, for which they take a memory.
    token_shift
        Channels that gates and glu read from the position before, of the tapes that it plays
        (docs/arithmetic.md, 19); left out of the JSON if it is 0.

    Raises
    ------
    InputError
        If a size cannot be built; the message names the field, its limit and what would fit.
    """

    rows: int
    columns: int
    post_width: int
    max_width: int
    max_rows: int
    weight_words: int
    header_words: int
    embedding_rows: int
    embedding_width: int
    bias_words: int
    state_words: int
    weight_code: str = "2"
    memory: str = BLOCK
    formats: Formats = field(default_factory=Formats)
    value_bits: int = VALUE_BITS
    arithmetic: str = "pow2"
    stores_logits: bool = True
    token_shift: int = 0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in _NO_SIZES:
                continue
            if type(value) is not int or value < 1:
                raise InputError(f"design: {item.name} must be a positive integer, got {value!r}")
            if value > MAX_WORDS:
                raise InputError(f"design: {item.name} must be at most {MAX_WORDS}, got {value}")
        for name, low, high in (
            ("rows", 1, MAX_SIDE),
            ("columns", 2, MAX_SIDE),
            ("post_width", 1, MAX_SIDE),
            ("value_bits", MIN_VALUE_BITS, MAX_VALUE_BITS),
        ):
            value, of_two = getattr(self, name), name in ("columns", "post_width")
            if not low <= value <= high or (of_two and value & (value - 1)):
                kind = "a power of two in" if of_two else "in"
                raise InputError(f"design: {name} must be {kind} {low}..{high}, got {value}")
        if self.rows % self.post_width or self.columns % self.post_width:
            raise InputError(
                f"design: post_width must divide rows and columns, got {self.post_width} "
                f"for {self.rows} x {self.columns}"
            )
        for name in ("max_width", "embedding_width"):
            if getattr(self, name) > MAX_FAN_IN:
                raise InputError(
                    f"design: {name} must be at most {MAX_FAN_IN}, got {getattr(self, name)}"
                )
        try:
            find_code(self.weight_code)
            external = find_memory(self.memory)
        except InputError as error:
            raise InputError(f"design: {error}") from None
        if external is not None:
            self._check_ports(external)
        self._check_arithmetic()
        if self.formats != Formats():
            raise InputError(
                "design: only the default formats of docs/arithmetic.md can be built yet"
            )

    def _check_ports(self, external: ExternalMemory) -> None:
        """Each port of an external memory must feed one group of rows, all of its bits."""
        for name, value in (
            ("rows", external.rows),
            ("columns", external.columns),
            ("weight_code", "1.6"),
        ):
            if (got := getattr(self, name)) != value:
                raise InputError(f"design: {name} must be {value} for {self.memory}, got {got}")
        if 16 * self.post_width > external.port_bits:
            raise InputError(
                f"design: post_width must be at most {external.port_bits // 16} for {self.memory},"
                f" got {self.post_width}"
            )

    def _check_arithmetic(self) -> None:
        if type(self.stores_logits) is not bool:
            raise InputError(
                f"design: stores_logits must be true or false, got {self.stores_logits!r}"
            )
        if self.arithmetic not in list(ARITHMETICS):
            raise InputError(
                f"design: arithmetic must be one of {', '.join(ARITHMETICS)}, got"
                f" {self.arithmetic!r}"
            )
        most = self.embedding_width if self.arithmetic == "pow2" else 0
        if type(self.token_shift) is not int or not 0 <= self.token_shift <= most:
            raise InputError(
                f"design: token_shift must be an integer in 0..{most} for {self.arithmetic}, got"
                f" {self.token_shift!r}"
            )
        if self.arithmetic != "pow2" and self.value_bits != ARITHMETICS[self.arithmetic]:
            raise InputError(
                f"design: value_bits must be {ARITHMETICS[self.arithmetic]} for"
                f" {self.arithmetic}, got {self.value_bits}"
            )

    @property
    def external(self) -> ExternalMemory | None:
        """The ports of an external memory, if the image is in one."""
        return find_memory(self.memory)

    @property
    def lanes(self) -> int:
        """Ternary additions per cycle."""
        return self.rows * self.columns

    @property
    def group_rows(self) -> int:
        """Rows of the array that share a weight memory: the most that divide all rows."""
        return max(n for n in range(1, MAX_GROUP_ROWS + 1) if self.rows % n == 0)

    @property
    def num_groups(self) -> int:
        """Groups of rows."""
        return self.rows // self.group_rows

    @property
    def max_tiles(self) -> int:
        """Words of C elements that the largest vector takes."""
        return -(-self.max_width // self.columns)

    @property
    def embedding_tiles(self) -> int:
        """Words of C elements that the widest embedding row takes."""
        return -(-self.embedding_width // self.columns)

    @property
    def shift_groups(self) -> int:
        """Groups of P elements that hold the channels of a token shift."""
        return -(-self.token_shift // self.post_width)

    @property
    def kept_words(self) -> int:
        """Words of P values of one bank of the state: h of all layers, and after them what a token
        shift keeps, twice per layer.
        """
        layers = (self.header_words - 2) // len(LAYER_SEGMENTS)
        return self.state_words + 2 * layers * self.shift_groups

    @property
    def max_blocks(self) -> int:
        """Row blocks of the tallest matrix."""
        return -(-self.max_rows // self.rows)

    @property
    def groups_per_block(self) -> int:
        """Cycles that the post-processing takes for one row block."""
        return self.rows // self.post_width

    @property
    def max_site_values(self) -> int:
        """Most values that one place can saturate in a token: a vector, or the rows of three
        matrices, in each segment.
        """
        return self.header_words * max(
            self.max_tiles * self.columns, 3 * self.max_blocks * self.rows
        )

    @property
    def accumulator_bits(self) -> int:
        """Signed bits that hold 128 * max_width, times the largest weight of the code."""
        return 9 + self.max_width.bit_length() + find_code(self.weight_code).product_bits

    @property
    def lane_bits(self) -> int:
        """Bits of a weight as the array takes it."""
        return find_code(self.weight_code).lane_bits

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, in field order."""
        return {
            name: value for name, value in asdict(self).items() if name != "token_shift" or value
        }

    @classmethod
    def from_dict(cls, data: object, source: str = "design") -> Design:
        """The design that a JSON object describes (a LIMITS.json).

        Raises
        ------
        InputError
            If a field is unknown, missing or out of range; the message names ``source`` and field.
        """
        values = checked_fields(data, cls, source)
        if "formats" in values:
            values["formats"] = _read_formats(values["formats"], source)
        try:
            return cls(**values)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None


def _read_formats(data: object, source: str) -> Formats:
    values = checked_fields(data, Formats, f"{source}: formats")
    try:
        return Formats(**values)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None

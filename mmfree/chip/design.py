"""The sizes of one chip: everything that decides its Verilog, and of a model only the limits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from mmfree.chip.weight_codes import MULTIPLYING_CODES, find_code
from mmfree.contract.pow2 import MAX_FAN_IN, NOISE_INDEX_BITS, SEGMENT_ROLES, TABLE_ENTRIES, Formats
from mmfree.contract.shape import ModelConfig
from mmfree.errors import InputError
from mmfree.files.objects import checked_fields
from mmfree.tape.pow2 import Tape, segment_shapes

CHECK_BITS, PAGE_BITS, PAGE_WORDS = 32, 4096, 4
"""Bits of a segment's check word, and what is folded to one word before the CRC takes it
(docs/accelerator.md): PAGE_BITS of weights, but at least PAGE_WORDS words, one for each cycle that
the CRC takes.
"""

LOAD_BITS = 18
"""Most bits of a word that the load port writes at once: the width of a block RAM that has its own
write enable.
"""

GROUP_ROWS = 4
"""Rows of the array that share a weight memory (docs/decisions/0010).

Activations and addresses pass from each group of rows to the next, a cycle later.
"""

LOADED_MEMORIES = (
    "weights",
    "headers",
    "embedding",
    "biases",
    "tables",
    "reciprocal_root",
    "gumbel",
)
"""Memories that the load port writes, in the order of their numbers."""

MAX_SIDE = 1024
"""Most rows, and most columns, of an array."""

MAX_WORDS = 1 << 28
"""Most words of a memory: the weights of the 370M shape at 4 lanes are a third of it."""

KIND_CODES = {"embedding": 0, "gates": 1, "output": 2, "down": 2, "glu": 3, "head": 4}
"""Kind field of a header. o and down are one operation: project, add to the residual."""

LANES_PER_OUTPUT = 256
"""Most lanes for each output per cycle that the post-processing takes.

It also writes the embedding, one element per cycle and output, so a larger array needs more.
"""

POST_MARGIN = 1.25
"""Least ratio of the outputs that the post-processing can take to those that the array delivers.

Below 1 the array waits for room.
"""

MATRICES_PER_SEGMENT = max(len(roles) for roles in SEGMENT_ROLES.values())


@dataclass(frozen=True)
class LoadedShape:
    """A memory that the load port fills, ``part_bits`` of a word at once.

    Parameters
    ----------
    bits
        Width of a word, without parity.
    depth
        Words.
    parity
        Whether a further bit makes the number of ones even.
    groups
        Memories of equal width that share a word, each with whole parts.
    """

    bits: int
    depth: int
    parity: bool = True
    groups: int = 1

    @property
    def parts(self) -> int:
        """Parts of a word."""
        return self.groups * self.group_parts

    @property
    def group_parts(self) -> int:
        """Parts of a group's share of a word."""
        return -(-(self.bits // self.groups + self.parity) // LOAD_BITS)

    @property
    def part_bits(self) -> int:
        """Bits of a part; the last one of a group may be padded."""
        return -(-(self.bits // self.groups + self.parity) // self.group_parts)

    def with_parity(self, word: int) -> int:
        """The word as it is stored."""
        return word | (word.bit_count() & 1) << self.bits if self.parity else word


@dataclass(frozen=True, kw_only=True)
class Design:
    """Sizes of an accelerator. A design plays every tape that fits them (``layout`` checks).

    Parameters
    ----------
    rows, columns
        R x C lanes: each cycle C activations meet R rows of weights. Powers of two, columns >= 2.
    post_width
        P, outputs that the post-processing takes per cycle; divides rows and columns.
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
        Words of P values: gate biases of all layers, and one bank of the state.
    weight_code
        How weights are stored: "2", "1.67" or "1.6" bits each (mmfree/chip/weight_codes.py).
    formats
        Number formats; only the default ones can be built yet.

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
    formats: Formats = field(default_factory=Formats)

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name not in ("formats", "weight_code") and (
                type(value) is not int or value < 1
            ):
                raise InputError(f"design: {item.name} must be a positive integer, got {value!r}")
            if isinstance(value, int) and value > MAX_WORDS:
                raise InputError(f"design: {item.name} must be at most {MAX_WORDS}, got {value}")
        for name, low, high in (
            ("rows", 1, MAX_SIDE),
            ("columns", 2, MAX_SIDE),
            ("post_width", 1, MAX_SIDE),
        ):
            value = getattr(self, name)
            if not low <= value <= high or value & (value - 1):
                raise InputError(
                    f"design: {name} must be a power of two in {low}..{high}, got {value}"
                )
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
        except InputError as error:
            raise InputError(f"design: {error}") from None
        if self.formats != Formats():
            raise InputError(
                "design: only the default formats of docs/arithmetic.md can be built yet"
            )

    @property
    def lanes(self) -> int:
        """Ternary additions per cycle."""
        return self.rows * self.columns

    @property
    def group_rows(self) -> int:
        """Rows of the array that share a weight memory."""
        return min(self.rows, GROUP_ROWS)

    @property
    def num_groups(self) -> int:
        """Groups of rows."""
        return self.rows // self.group_rows

    @property
    def group_bits(self) -> int:
        """Bits of a group's share of a word of weights: whole parts of the load port, into which a
        check word fits, too.
        """
        code = find_code(self.weight_code)
        bits = max(CHECK_BITS, code.word_bits(self.group_rows * self.columns))
        parts = -(-bits // LOAD_BITS)
        return -(-bits // parts) * parts

    @property
    def word_bits(self) -> int:
        """Bits of a word of weights."""
        return self.num_groups * self.group_bits

    @property
    def page_words(self) -> int:
        """Words of weights that are folded to one."""
        return max(PAGE_WORDS, PAGE_BITS // self.word_bits)

    @property
    def weight_memories(self) -> tuple[str, ...]:
        """Names of the weight memories, one for each group of rows."""
        return tuple(f"weights_{group}" for group in range(self.num_groups))

    @property
    def memories(self) -> tuple[str, ...]:
        """Names of all memories of the chip that an image fills."""
        return (*self.weight_memories, *LOADED_MEMORIES[1:])

    @property
    def group_shape(self) -> LoadedShape:
        """Shape of one weight memory."""
        return LoadedShape(self.group_bits, self.weight_words, parity=False)

    def loaded_shape(self, memory: str) -> LoadedShape:
        """Shape of one of LOADED_MEMORIES."""
        shapes = {
            "weights": LoadedShape(
                self.word_bits, self.weight_words, parity=False, groups=self.num_groups
            ),
            "headers": LoadedShape(self.header_bits, self.header_words),
            "embedding": LoadedShape(8 * self.columns, self.embedding_rows * self.embedding_tiles),
            "biases": LoadedShape(16 * self.post_width, self.bias_words),
            "tables": LoadedShape(16, 2 * TABLE_ENTRIES),
            "reciprocal_root": LoadedShape(8, 256),
            "gumbel": LoadedShape(14, 2 << NOISE_INDEX_BITS),
        }
        return shapes[memory]

    @property
    def max_tiles(self) -> int:
        """Words of C elements that the largest vector takes."""
        return -(-self.max_width // self.columns)

    @property
    def embedding_tiles(self) -> int:
        """Words of C elements that the widest embedding row takes."""
        return -(-self.embedding_width // self.columns)

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
        """Signed bits that hold 128 * max_width, and with int8 weights 128 times that."""
        return 9 + self.max_width.bit_length() + 7 * self.multiplies

    @property
    def multiplies(self) -> bool:
        """Whether weights are int8 and the array multiplies: only to compare such a design."""
        return self.weight_code in MULTIPLYING_CODES

    @property
    def lane_bits(self) -> int:
        """Bits of a weight as the array takes it."""
        return 8 if self.multiplies else 2

    @property
    def header_fields(self) -> tuple[tuple[str, int], ...]:
        """Name and bits of the fields of a segment table entry, from the low bits up.

        ``tail`` is the number of elements in the vector's last word, ``tail_rows`` the number of
        rows in the last row block; ``base*`` is signed (e of docs/arithmetic.md, 7; for the
        embedding, its shift).
        """
        return (
            ("kind", 3),
            ("last", 1),
            ("gate", 2),
            ("tiles", self.max_tiles.bit_length()),
            ("tail", self.columns.bit_length()),
            ("blocks", self.max_blocks.bit_length()),
            ("tail_rows", self.rows.bit_length()),
            *((f"multiplier{m}", 9) for m in range(MATRICES_PER_SEGMENT)),
            *((f"base{m}", 5) for m in range(MATRICES_PER_SEGMENT)),
        )

    @property
    def header_bits(self) -> int:
        """Width of a segment table entry."""
        return sum(bits for _, bits in self.header_fields)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, in field order."""
        return asdict(self)

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


def design_for(tape: Tape, lanes: int, weight_code: str = "2") -> Design:
    """The smallest design of ``lanes`` lanes that plays ``tape`` (and every tape of its shape)."""
    return design_for_model(tape.config, lanes, weight_code)


def design_for_model(config: ModelConfig, lanes: int, weight_code: str = "2") -> Design:
    """The smallest design of ``lanes`` lanes that plays every tape of a model's shape."""
    rows, columns = array_shape(config, lanes)
    d = config.hidden_size
    post_width = 1
    while post_width < min(rows, columns) and post_width < max(
        POST_MARGIN * lanes / d, lanes / LANES_PER_OUTPUT
    ):
        post_width *= 2
    vector_words = -(-d // rows) * rows // post_width * config.num_layers
    return Design(
        rows=rows,
        columns=columns,
        post_width=post_width,
        max_width=max(d, config.intermediate_size),
        max_rows=max(d, config.intermediate_size, config.head_size),
        weight_words=image_weight_words(config, rows, columns),
        header_words=1 + sum(1 for _ in segment_shapes(config)),
        embedding_rows=config.vocab_size,
        embedding_width=d,
        bias_words=vector_words,
        state_words=vector_words,
        weight_code=weight_code,
    )


def array_shape(config: ModelConfig, lanes: int) -> tuple[int, int]:
    """Rows and columns for a lane count.

    The preferred split is 16 columns up to 256 lanes (at least 4 rows, if there are lanes for them)
    and 16 rows above: more rows mean more cycles of post-processing after the last word of a
    segment, more columns a wider quantizer. Another split is taken only where it saves at least 2 %
    of the image's words of weights per factor of two.
    """
    if lanes < 4 or lanes & (lanes - 1) or lanes > MAX_SIDE * MAX_SIDE:
        raise InputError(f"lanes must be a power of two in 4..{MAX_SIDE * MAX_SIDE}, got {lanes}")
    preferred = max(lanes // 16, min(16, lanes // 4), 2)
    splits = []
    columns = 2
    while columns <= min(lanes, MAX_SIDE):
        rows = lanes // columns
        if rows <= MAX_SIDE:
            distance = abs(columns.bit_length() - preferred.bit_length())
            words = image_weight_words(config, rows, columns)
            splits.append((words * (1 + 0.02 * distance), rows, columns))
        columns *= 2
    _, rows, columns = min(splits)
    return rows, columns


def image_weight_words(config: ModelConfig, rows: int, columns: int) -> int:
    """Words of weights in a model's image, rows * columns weights each.

    Padding and one check word per segment are included.
    """
    return sum(
        len(SEGMENT_ROLES[kind]) * -(-height // rows) * -(-fan_in // columns) + 1
        for kind, _, height, fan_in in segment_shapes(config)
    )


def padding_share(config: ModelConfig, rows: int, columns: int) -> float:
    """Share of the image's weights that are padding, 0..1: lanes that add nothing, because rows or
    columns do not divide a matrix.
    """
    weights, segments = 0, 0
    for kind, _, height, fan_in in segment_shapes(config):
        weights, segments = weights + len(SEGMENT_ROLES[kind]) * height * fan_in, segments + 1
    # A check word per segment holds no weights.
    words = image_weight_words(config, rows, columns) - segments
    return 1 - weights / (words * rows * columns)


def describe_padding(share: float) -> str:
    """What padding costs, in words."""
    return f"{100 * share:.1f} % of the lanes' work is padding" if share else "no padding"

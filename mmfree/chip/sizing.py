"""Which design plays a tape: the split of its lanes, its limits, and what padding costs."""

from __future__ import annotations

from dataclasses import replace

from mmfree.chip.design import ARITHMETICS, MAX_SIDE, Design
from mmfree.chip.external_memory import BLOCK, ExternalMemory
from mmfree.chip.memory_map import num_gains
from mmfree.chip.records import array_shapes, records
from mmfree.contract.pow2 import SEGMENT_ROLES
from mmfree.contract.shape import AbsmaxConfig, AnyConfig
from mmfree.errors import InputError
from mmfree.tape.reading import AnyTape

LANES_PER_OUTPUT = 256
"""pow2: most lanes for each output per cycle that the post-processing takes.

It also writes the embedding, one element per cycle and output, so a larger array needs more.
"""

POST_MARGIN = 1.25
"""pow2: least ratio of the outputs that the post-processing can take to those that the array
delivers.

Below 1 the array waits for room.
"""


DEFAULT_LANES, DEFAULT_CODE = 64, "2"
"""Of a design for a tape, where nobody asks for others."""


def design_for(tape: AnyTape, lanes: int | None = None, weight_code: str | None = None) -> Design:
    """The smallest design of ``lanes`` lanes that plays ``tape`` (and every tape of its shape).

    None: DEFAULT_LANES, DEFAULT_CODE.
    """
    return design_for_model(
        tape.config,
        DEFAULT_LANES if lanes is None else lanes,
        DEFAULT_CODE if weight_code is None else weight_code,
    )


def refuse_another_design(
    design: Design, lanes: int | None, weight_code: str | None, place: object
) -> None:
    """InputError if lanes or a code are asked for that the design in ``place`` does not have."""
    for option, asked, own in (
        ("--lanes", lanes, design.lanes),
        ("--bits", weight_code, design.weight_code),
    ):
        if asked not in (None, own):
            raise InputError(
                f"{option} {asked}: the design in {place} has {own}; leave the option out"
            )


def design_for_model(config: AnyConfig, lanes: int, weight_code: str = DEFAULT_CODE) -> Design:
    """The smallest design of ``lanes`` lanes that plays every tape of a model's shape."""
    rows, columns = array_shape(config, lanes)
    post_width = _post_width(config, rows, columns, min(rows, columns))
    return design_of_array(config, rows, columns, post_width, weight_code)


def _post_width(config: AnyConfig, rows: int, columns: int, most: int) -> int:
    """The smallest P, a power of two, with which the array need not wait; at most ``most``, so far
    as powers of two go.
    """
    post_width = 1
    while post_width < most and not _keeps_up(config, rows, columns, post_width):
        post_width *= 2
    return post_width


def _keeps_up(config: AnyConfig, rows: int, columns: int, post_width: int) -> bool:
    """Whether the post-processing takes what the array delivers."""
    if not isinstance(config, AbsmaxConfig):
        lanes = rows * columns
        return post_width >= max(POST_MARGIN * lanes / config.hidden_size, lanes / LANES_PER_OUTPUT)
    shapes = [(kind, fan_in) for kind, _, _, fan_in in array_shapes(config)]
    for (kind, fan_in), following in zip(shapes, [*shapes[1:], None], strict=True):
        matrices, tiles = len(SEGMENT_ROLES[kind]), -(-fan_in // columns)
        # Groups of P rows: those of a block's last matrix take a turn for each gain.
        turns = 1 if following is None else num_gains(following[0])
        if (matrices - 1 + turns) * rows > matrices * tiles * post_width:
            return False
    return True


def design_of_array(
    config: AnyConfig,
    rows: int,
    columns: int,
    post_width: int,
    weight_code: str = "2",
    memory: str = BLOCK,
) -> Design:
    """The smallest design with this array that plays every tape of a model's shape."""
    d = config.hidden_size
    layer_words = -(-d // rows) * rows // post_width
    state_words = layer_words * config.num_layers
    absmax = isinstance(config, AbsmaxConfig)
    arithmetic = "absmax" if absmax else "pow2"
    design = Design(
        rows=rows,
        columns=columns,
        post_width=post_width,
        max_width=max(d, config.intermediate_size),
        max_rows=max(d, config.intermediate_size, config.head_size),
        weight_words=1,
        header_words=1 + sum(1 for _ in array_shapes(config)),
        embedding_rows=config.vocab_size,
        embedding_width=d,
        bias_words=state_words if memory == BLOCK and not absmax else layer_words,
        state_words=state_words,
        weight_code=weight_code,
        memory=memory,
        value_bits=ARITHMETICS[arithmetic],
        arithmetic=arithmetic,
        stores_logits=not absmax or memory == BLOCK,
        token_shift=0 if isinstance(config, AbsmaxConfig) else config.token_shift,
    )
    return replace(design, weight_words=stream_words(config, design))


def design_for_memory(config: AnyConfig, external: ExternalMemory) -> Design:
    """The smallest design that plays every tape of a model's shape from an external memory.

    Its ports decide rows and columns.
    """
    rows, columns = external.rows, external.columns
    # Of powers of two that divide the rows, as many as there are ports.
    most = min(external.ports, external.port_bits // 16)
    post_width = _post_width(config, rows, columns, most)
    return design_of_array(config, rows, columns, post_width, "1.6", memory=external.name)


def check_lanes(lanes: int) -> None:
    """InputError if there is no array of so many lanes."""
    if lanes < 4 or lanes & (lanes - 1) or lanes > MAX_SIDE * MAX_SIDE:
        raise InputError(f"lanes must be a power of two in 4..{MAX_SIDE * MAX_SIDE}, got {lanes}")


def array_shape(config: AnyConfig, lanes: int) -> tuple[int, int]:
    """Rows and columns for a lane count.

    The preferred split is 16 columns up to 256 lanes (at least 4 rows, if there are lanes for them)
    and 16 rows above: more rows mean more cycles of post-processing after the last word of a
    segment, more columns a wider quantizer. Another split is taken only where it saves at least 2 %
    of the image's words of weights per factor of two.
    """
    check_lanes(lanes)
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


def image_weight_words(config: AnyConfig, rows: int, columns: int) -> int:
    """Words of weights in a model's image, rows * columns weights each.

    Padding and one check word per segment are included.
    """
    return sum(
        len(SEGMENT_ROLES[kind]) * -(-height // rows) * -(-fan_in // columns) + 1
        for kind, _, height, fan_in in array_shapes(config)
    )


def stream_words(config: AnyConfig, design: Design) -> int:
    """Words that a design's source of weights gives for a token of a model."""
    return sum(record.words for record in records(config, design))


def padding_share(config: AnyConfig, rows: int, columns: int) -> float:
    """Share of the image's weights that are padding, 0..1: lanes that add nothing, because rows or
    columns do not divide a matrix.
    """
    weights, segments = 0, 0
    for kind, _, height, fan_in in array_shapes(config):
        weights, segments = weights + len(SEGMENT_ROLES[kind]) * height * fan_in, segments + 1
    # A check word per segment holds no weights.
    words = image_weight_words(config, rows, columns) - segments
    return 1 - weights / (words * rows * columns)


def describe_padding(share: float) -> str:
    """What padding costs, in words."""
    return f"{100 * share:.1f} % of the lanes' work is padding" if share else "no padding"

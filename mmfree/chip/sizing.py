"""Which design plays a tape: the split of its lanes, its limits, and what padding costs."""

from __future__ import annotations

from dataclasses import replace

from mmfree.chip.design import MAX_SIDE, Design
from mmfree.chip.external_memory import BLOCK, ExternalMemory
from mmfree.chip.memory_map import parameter_words
from mmfree.contract.pow2 import SEGMENT_ROLES
from mmfree.contract.shape import ModelConfig
from mmfree.errors import InputError
from mmfree.tape.pow2 import Tape, segment_shapes

LANES_PER_OUTPUT = 256
"""Most lanes for each output per cycle that the post-processing takes.

It also writes the embedding, one element per cycle and output, so a larger array needs more.
"""

POST_MARGIN = 1.25
"""Least ratio of the outputs that the post-processing can take to those that the array delivers.

Below 1 the array waits for room.
"""


DEFAULT_LANES, DEFAULT_CODE = 64, "2"
"""Of a design for a tape, where nobody asks for others."""


def design_for(tape: Tape, lanes: int | None = None, weight_code: str | None = None) -> Design:
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


def design_for_model(config: ModelConfig, lanes: int, weight_code: str = DEFAULT_CODE) -> Design:
    """The smallest design of ``lanes`` lanes that plays every tape of a model's shape."""
    rows, columns = array_shape(config, lanes)
    d = config.hidden_size
    post_width = 1
    while post_width < min(rows, columns) and post_width < max(
        POST_MARGIN * lanes / d, lanes / LANES_PER_OUTPUT
    ):
        post_width *= 2
    return design_of_array(config, rows, columns, post_width, weight_code)


def design_of_array(
    config: ModelConfig,
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
    design = Design(
        rows=rows,
        columns=columns,
        post_width=post_width,
        max_width=max(d, config.intermediate_size),
        max_rows=max(d, config.intermediate_size, config.head_size),
        weight_words=1,
        header_words=1 + sum(1 for _ in segment_shapes(config)),
        embedding_rows=config.vocab_size,
        embedding_width=d,
        bias_words=state_words if memory == BLOCK else layer_words,
        state_words=state_words,
        weight_code=weight_code,
        memory=memory,
    )
    return replace(design, weight_words=stream_words(config, design))


def design_for_memory(config: ModelConfig, external: ExternalMemory) -> Design:
    """The smallest design that plays every tape of a model's shape from an external memory.

    Its ports decide rows and columns.
    """
    rows, columns = external.rows, external.columns
    wanted = max(
        POST_MARGIN * external.lanes / config.hidden_size, external.lanes / LANES_PER_OUTPUT
    )
    # Of powers of two that divide the rows, as many as there are ports.
    post_width = 1
    while post_width < min(external.ports, external.port_bits // 16) and post_width < wanted:
        post_width *= 2
    return design_of_array(config, rows, columns, post_width, "1.6", memory=external.name)


def check_lanes(lanes: int) -> None:
    """InputError if there is no array of so many lanes."""
    if lanes < 4 or lanes & (lanes - 1) or lanes > MAX_SIDE * MAX_SIDE:
        raise InputError(f"lanes must be a power of two in 4..{MAX_SIDE * MAX_SIDE}, got {lanes}")


def array_shape(config: ModelConfig, lanes: int) -> tuple[int, int]:
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


def image_weight_words(config: ModelConfig, rows: int, columns: int) -> int:
    """Words of weights in a model's image, rows * columns weights each.

    Padding and one check word per segment are included.
    """
    return sum(
        len(SEGMENT_ROLES[kind]) * -(-height // rows) * -(-fan_in // columns) + 1
        for kind, _, height, fan_in in segment_shapes(config)
    )


def stream_words(config: ModelConfig, design: Design) -> int:
    """Words that a design's source of weights gives for a token of a model.

    From an external memory also the biases of each layer, and a check word for the first layer's.
    """
    words = image_weight_words(config, design.rows, design.columns)
    if design.external is None:
        return words
    return words + config.num_layers * parameter_words(design) + 1


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

"""Boundaries of golden models, of what is seen of them, and of the packing bitnet."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from mmfree.golden.sampling import seed_registers, temperature_code, top_p_code
from mmfree.inference.ranges import (
    Range,
    SaturationError,
    measure_ranges,
    real_data,
    refuse_saturation,
)
from mmfree.interchange.bitnet import pack_trits, unpack_trits
from mmfree.text.tokenizer import ByteTokenizer
from mmfree.training.provenance import Provenance, write_provenance
from tests.support.boundaries import Boundary, both_ends
from tests.support.random_tapes import random_tape

TAPE = random_tape(
    np.random.default_rng(0),
    hidden_size=3,
    intermediate_size=4,
    num_layers=1,
    vocab_size=2,
    head_size=2,
    gate="hard",
)
SAMPLING, BITNET = "mmfree/golden/sampling.py", "mmfree/interchange/bitnet.py"


def refuse_at(share: float) -> None:
    """One of the judged intermediates at its limit for this share of the values."""
    calm = measure_ranges(TAPE, np.zeros((1, 1), dtype=np.int64))
    ranges = [
        Range(
            segment=found.segment,
            name=found.name,
            largest=found.largest,
            limit=found.limit,
            share_at_limit=share if (found.segment, found.name) == ("head", "logits") else 0.0,
        )
        for found in calm
    ]
    refuse_saturation(TAPE, ranges, "zeros")


def held_out(folder: Path, token: int) -> None:
    """The record of a run whose text holds this token."""
    write_provenance(folder, Provenance(text="stories", held_out=tuple([token] * 300)))
    real_data(ByteTokenizer(), [], run=folder)


ROWS: list[Boundary] = [
    *(
        Boundary(
            file=SAMPLING,
            compares="0 <= temperature <= largest",
            allowed=lambda _, end=end: temperature_code(end),
            refused=lambda _, end=end, towards=towards: temperature_code(
                math.nextafter(end, towards)
            ),
            says=r"--temperature must lie in 0\.\.3\.98, got ",
        )
        for end, towards in ((0.0, -1.0), (255 / 64, 4.0))
    ),
    *(
        Boundary(
            file=SAMPLING,
            compares="0 < top_p <= 1",
            allowed=lambda _, end=end: top_p_code(end),
            refused=lambda _, beyond=beyond: top_p_code(beyond),
            says=r"--top-p must lie above 0 and be at most 1, got ",
        )
        for end, beyond in ((math.nextafter(0.0, 1.0), 0.0), (1.0, math.nextafter(1.0, 2.0)))
    ),
    *both_ends(
        SAMPLING,
        "0 <= seed <= SEED_MAX",
        seed_registers,
        (0, 2**64 - 1),
        r"--seed must lie in 0\.\.2\^64-1 to sample",
    ),
    Boundary(
        file="mmfree/inference/ranges.py",
        compares="max(record.held_out) >= reader.vocab_size",
        allowed=lambda folder: held_out(folder, 255),
        refused=lambda folder: held_out(folder, 256),
        says="its record of the text has tokens that its tokenizer has not",
    ),
    Boundary(
        file="mmfree/inference/ranges.py",
        compares="worst.share_at_limit > OFTEN",
        allowed=lambda _: refuse_at(0.01),
        refused=lambda _: refuse_at(math.nextafter(0.01, 1)),
        says=r"head, logits: 1\.0 % of the values lie at the limit 32768 \(at most 1 % may\)",
        raises=SaturationError,
    ),
    Boundary(
        file=BITNET,
        compares="trits.shape[0] < 1",
        allowed=lambda _: pack_trits(np.zeros((1, 3), dtype=np.int8)),
        refused=lambda _: pack_trits(np.zeros((0, 3), dtype=np.int8)),
        says=r"trits must be \[rows >= 1, columns\], got shape \(0, 3\)",
    ),
    *(
        Boundary(
            file=BITNET,
            compares="most - TRITS_PER_BYTE < rows <= most",
            allowed=lambda _, rows=allowed: unpack_trits(np.zeros((2, 3), dtype=np.uint8), rows),
            refused=lambda _, rows=refused: unpack_trits(np.zeros((2, 3), dtype=np.uint8), rows),
            says=rf"2 packed rows hold 5\.\.8 rows, got rows {refused}$",
        )
        for allowed, refused in ((5, 4), (8, 9))
    ),
]

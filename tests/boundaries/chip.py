"""Boundaries of designs, their registers and what a host asks: chip, host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmfree.chip.design import Design
from mmfree.chip.external_memory import find_memory
from mmfree.chip.layout import layout
from mmfree.chip.memory_image import MemoryImage, check_capacity
from mmfree.chip.registers import Access, Register
from mmfree.chip.sizing import array_shape, design_for
from mmfree.contract.shape import ModelConfig
from mmfree.host.interface import Request
from tests.support.boundaries import Boundary, both_ends
from tests.support.random_tapes import random_tape

CONFIG = ModelConfig(
    vocab_size=6, head_size=4, hidden_size=9, intermediate_size=13, num_layers=2, gate="hard"
)
TAPE = random_tape(np.random.default_rng(0), **CONFIG.to_dict())
IMAGE = MemoryImage(
    path=Path("memory.bin"),
    design_sha256="",
    tape_sha256="",
    words=4,
    rows=6,
    regions=(),
    file_bytes=8192,
)
FIELDS = (
    *("rows", "columns", "max_width", "max_rows", "weight_words", "header_words"),
    *("embedding_rows", "embedding_width", "bias_words", "state_words", "value_bits"),
)
LIMITS = dict.fromkeys(FIELDS, 16)
FILE = "mmfree/chip/design.py"


def design(**changes: Any) -> Design:
    return Design(**{**LIMITS, "post_width": 1, **changes})


def request(**changes: Any) -> Request:
    return Request(**{"token": 0, "begin": True, **changes})


def boundary(
    file: str, compares: str, run: Callable[..., object], name: str, values: Any, says: str
) -> Boundary:
    """One field, with the last value that is allowed and the first that is refused."""
    allowed, refused = values
    return Boundary(
        file=file,
        compares=compares,
        allowed=lambda _: run(**{name: allowed}),
        refused=lambda _: run(**{name: refused}),
        says=f"{says}, got {refused}$",
    )


def tight(**changes: int) -> Design:
    """The smallest design that plays the tape, with other limits."""
    return replace(design_for(TAPE, 16), **changes)


def external(**changes: Any) -> Design:
    """A design with an external memory of 16 ports of 64 bits."""
    sizes = {"rows": 80, "columns": 8, "weight_code": "1.6", "memory": "axi64x16"}
    return design(**{**sizes, **changes})


MEMORY_FILE = "mmfree/chip/external_memory.py"

ROWS: list[Boundary] = [
    *both_ends(
        FILE,
        "0 <= self.token_shift <= most",
        lambda value: design(token_shift=value),
        (0, 16),
        r"token_shift must be an integer in 0\.\.16 for pow2",
    ),
    Boundary(
        file=FILE,
        compares="16 * self.post_width > external.port_bits",
        allowed=lambda _: external(post_width=4),
        refused=lambda _: external(post_width=8),
        says="post_width must be at most 4 for axi64x16, got 8$",
    ),
    Boundary(
        file=MEMORY_FILE,
        compares="1 <= ports <= MAX_PORTS",
        allowed=lambda _: find_memory("axi64x1"),
        refused=lambda _: find_memory("axi64x0"),
        says="must be a power of two in 1..32, got 0$",
    ),
    Boundary(
        file=MEMORY_FILE,
        compares="1 <= ports <= MAX_PORTS",
        allowed=lambda _: find_memory("axi64x32"),
        refused=lambda _: find_memory("axi64x33"),
        says="must be a power of two in 1..32, got 33$",
    ),
    *(
        boundary(FILE, "value < 1", design, name, (1, 0), f"{name} must be a positive integer")
        for name in (
            *("rows", "post_width", "max_width", "max_rows", "weight_words", "header_words"),
            *("embedding_rows", "embedding_width", "bias_words", "state_words"),
        )
    ),
    *(
        boundary(
            FILE,
            "value > MAX_WORDS",
            design,
            name,
            (1 << 28, (1 << 28) + 1),
            f"{name} must be at most 268435456",
        )
        for name in (
            *("max_rows", "weight_words", "header_words"),
            *("embedding_rows", "bias_words", "state_words"),
        )
    ),
    *(
        boundary(FILE, "low <= value <= high", design, name, values, f"{name} must be .*{limits}")
        for name, values, limits in (
            ("rows", (1024, 1025), r"in 1\.\.1024"),
            ("columns", (2, 1), r"a power of two in 2\.\.1024"),
            ("columns", (1024, 2048), r"a power of two in 2\.\.1024"),
            ("value_bits", (16, 15), r"in 16\.\.32"),
            ("value_bits", (32, 33), r"in 16\.\.32"),
        )
    ),
    Boundary(
        file=FILE,
        compares="low <= value <= high",
        allowed=lambda _: design(rows=1024, columns=1024, post_width=1024),
        refused=lambda _: design(rows=1024, columns=1024, post_width=2048),
        says=r"post_width must be a power of two in 1\.\.1024, got 2048",
    ),
    *(
        boundary(
            FILE,
            "getattr(self, name) > MAX_FAN_IN",
            design,
            name,
            (65535, 65536),
            f"{name} must be at most 65535",
        )
        for name in ("max_width", "embedding_width")
    ),
    Boundary(
        file="mmfree/chip/layout.py",
        compares="need > (limit := getattr(design, name))",
        allowed=lambda _: layout(TAPE, tight(max_width=13)),
        refused=lambda _: layout(TAPE, tight(max_width=12)),
        says="the tape needs max_width of 13, but the design has 12: generate a larger design",
    ),
    Boundary(
        file="mmfree/chip/memory_image.py",
        compares="image.file_bytes > capacity_bytes",
        allowed=lambda _: check_capacity(IMAGE, 8192),
        refused=lambda _: check_capacity(IMAGE, 8191),
        says=r"has 0\.009 MB, the memory 0\.009 MB: 0\.001 MB too small",
    ),
    *both_ends(
        "mmfree/chip/registers.py",
        "0 <= value <= largest",
        Register(
            name="load.word", access=Access.WRITE, numbers=(3,), bits=5, largest=20
        ).write_frames,
        (0, 20),
        r"load\.word must lie in 0\.\.20",
    ),
    *both_ends(
        "mmfree/chip/registers.py",
        "0 <= value <= largest",
        lambda value: request(temperature=value),
        (0, 255),
        r"request\.temperature must lie in 0\.\.255",
    ),
    Boundary(
        file="mmfree/chip/sizing.py",
        compares="lanes < 4",
        allowed=lambda _: array_shape(CONFIG, 4),
        refused=lambda _: array_shape(CONFIG, 2),
        says=r"lanes must be a power of two in 4\.\.1048576, got 2",
    ),
    Boundary(
        file="mmfree/chip/sizing.py",
        compares="lanes > MAX_SIDE * MAX_SIDE",
        allowed=lambda _: array_shape(CONFIG, 1 << 20),
        refused=lambda _: array_shape(CONFIG, 1 << 21),
        says=r"lanes must be a power of two in 4\.\.1048576, got 2097152",
    ),
    *(
        boundary(
            "mmfree/host/interface.py",
            compares,
            request,
            name,
            values,
            rf"request\.{name} must be at least {values[0]}",
        )
        for compares, name, values in (
            ("self.token < 0", "token", (0, -1)),
            ("self.limit < 1", "limit", (1, 0)),
            ("self.stop < 0", "stop", (0, -1)),
        )
    ),
]

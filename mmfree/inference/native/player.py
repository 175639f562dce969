"""A tape in the library: its weights packed anew, and what plays them.

player = Player(tape)
logits = player.run(np.array([[30, 4, 17]]), state := player.state(1))
"""

from __future__ import annotations

import ctypes
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_uint8
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfree.contract.absmax import PROJECTION_EPS, ROLES_BY_KIND, SCALAR_BITS
from mmfree.contract.pow2 import GATES, ROLES, SATURATION_SITES, gumbel_table, reciprocal_root_table
from mmfree.errors import InputError
from mmfree.inference.native.huge_pages import huge_share
from mmfree.inference.native.library import (
    NUM_SITES,
    PATHS,
    Choice,
    Settings,
    allowed_threads,
    check_threads,
    chosen_path,
    load_library,
)
from mmfree.tape.absmax import AbsmaxTape
from mmfree.tape.container import TapeError
from mmfree.tape.pow2 import Tape
from mmfree.tape.reading import AnyTape

ABSMAX_SITES = ("projection", "residual", "logit")

_NOTHING, _LAST, _ALL = range(3)
"""Which logits are wanted, as in src/player.h."""

_BYTES_PER_THREAD = 1 << 20
"""Packed weights from which on a further thread gains more than it waits."""

_TABLE_ENTRIES = 256

WATCHED = {
    "gates": ("q", "acc", "i", "g", "h", "u"),
    "output": ("q", "acc", "y", "x"),
    "glu": ("q", "acc", "gate", "up", "u"),
    "down": ("q", "acc", "y", "x"),
    "head": ("q", "acc", "logits"),
}
"""Intermediates of a segment that ``watch`` sees, as the golden model's trace names them, in the
library's order (src/pow2.cpp)."""

_MOST_RANGES = 6

BUSY, BRIEF = 0.8, 1e-3
"""Others are in the way if the calling thread worked for less than this share of its time, and more
seconds are missing than these. Alone it plays at half of the speed, with a partner that is put
aside at a fifth and less."""

SHORTEST_ALONE, LONGEST_ALONE = 0.02, 1.0
"""Seconds that one thread plays by itself then: twice as long each time, until all goes well."""

WORTH_WAKING = 1 << 27
"""Weights times positions, a millisecond of one thread: less does not pay for waking the others."""


class Player:
    """Plays a tape for B independent sequences at a time, with the golden model's own integers.

    Threads of Python may share it, and take turns.

    ``saturations`` counts clamped values by site since the last ``reset_counters``; of the head,
    those of positions whose logits were asked for.

    Parameters
    ----------
    tape
        Of either arithmetic. Its embedding stays in use.
    threads
        None: as many as gain something, and as this process may use (``automatic``); ``threads`` is
        their number for a single sequence.

    Raises
    ------
    InputError
        If there are more threads than allowed, the formats of the tape are not played, or
        MMFREE_CPU_PATH names a path that this processor does not have.
    TapeError
        If the weights are no codes of trits.
    ToolMissing
        If the library can be neither found nor compiled.
    """

    def __init__(self, tape: AnyTape, threads: int | None = None) -> None:
        self._library = load_library()
        self._process, self._lock = os.getpid(), threading.Lock()
        self.tape = tape
        self.path = chosen_path()
        self.threads = _threads(tape, threads)
        self._pow2 = isinstance(tape, Tape)
        self._dtype = np.int16 if self._pow2 else np.int32
        settings = pow2_settings(tape) if isinstance(tape, Tape) else _absmax_settings(tape)
        settings.path = PATHS.index(self.path)
        settings.threads = allowed_threads() if threads is None else self.threads
        self.automatic, self._most = threads is None, settings.threads
        self._alone_until, self._alone_for = 0.0, SHORTEST_ALONE
        self._handle = self._library.mmfree_new(settings)
        if not self._handle:
            raise MemoryError("no memory for the packed weights, or no further threads")
        if isinstance(tape, Tape):
            self._set_pow2(tape)
        else:
            self._set_absmax(tape)
        self.sites = SATURATION_SITES if self._pow2 else ABSMAX_SITES
        self.saturations: dict[str, int] = {}
        self.reset_counters()

    def __del__(self) -> None:
        # Its threads are not there in a process that was forked.
        if getattr(self, "_handle", None) and self._process == os.getpid():
            self._library.mmfree_delete(self._handle)

    @contextmanager
    def _in_turn(self, batch: int = 1, positions: int = 1) -> Iterator[None]:
        """One call of the library at a time, in the process that has its threads.

        If nobody asked for a number of threads, as many take part as gain something: of sequences
        enough each thread plays its own. While other programs are in the way only one does, for who
        waits for a thread that was put aside waits long.
        """
        if self._process != os.getpid():
            raise RuntimeError("a player is of the process that made it: make one after the fork")
        with self._lock:
            if not self.automatic:
                yield
                return
            began, busy = time.monotonic(), time.thread_time()
            weights = batch * positions * self.tape.config.num_ternary_weights
            # Threads that could play sequences of their own.
            apart = min(batch, self._most) if weights >= WORTH_WAKING else 1
            number = 1 if began < self._alone_until else max(apart, self.threads)
            self._library.mmfree_set_threads(self._handle, number)
            yield
            now = time.monotonic()
            if time.thread_time() - busy < BUSY * (now - began) - BRIEF:
                self._alone_until = now + self._alone_for
                self._alone_for = min(2 * self._alone_for, LONGEST_ALONE)
            elif number > 1:
                self._alone_for = SHORTEST_ALONE

    def reset_counters(self) -> None:
        """Set every saturation counter to 0."""
        with self._in_turn():
            self._count()
            self.saturations = dict.fromkeys(self.sites, 0)

    def state(self, batch: int) -> NDArray[np.signedinteger[Any]]:
        """State at the start of a sequence: zeros, int16 or int32 [L, B, w]."""
        config = self.tape.config
        return np.zeros((config.num_layers, batch, config.state_width), dtype=self._dtype)

    def run(
        self, ids: NDArray[np.integer], state: NDArray[np.signedinteger[Any]]
    ) -> NDArray[np.int32]:
        """Logits int32 [B, T, rows] of ids [B, T]; ``state`` is changed in place."""
        logits = np.empty((*ids.shape, self.tape.config.head_size), dtype=np.int32)
        self._run(ids, state, logits, _ALL)
        return logits

    def run_to_last(
        self, ids: NDArray[np.integer], state: NDArray[np.signedinteger[Any]]
    ) -> NDArray[np.int32]:
        """Logits int32 [B, rows] of the last position of ids [B, T]; ``state``: as ``run``."""
        if not ids.size:
            raise InputError("there is no position to play: give at least one id")
        logits = np.empty((len(ids), self.tape.config.head_size), dtype=np.int32)
        self._run(ids, state, logits, _LAST)
        return logits

    def _run(
        self,
        ids: NDArray[np.integer],
        state: NDArray[np.signedinteger[Any]],
        logits: NDArray[np.int32],
        wanted: int,
        ranges: NDArray[np.int64] | None = None,
    ) -> None:
        config = self.tape.config
        if ids.ndim != 2 or ids.dtype.kind not in "iu":
            raise InputError(f"ids must be integers [B, T], got {ids.dtype} {ids.shape}")
        low, high = (int(ids.min()), int(ids.max())) if ids.size else (0, 0)
        if low < 0 or high >= config.vocab_size:
            raise InputError(
                f"ids must lie in 0..{config.vocab_size - 1}, got {low if low < 0 else high}"
            )
        self._check(state, len(ids))
        tokens = np.ascontiguousarray(ids, dtype=np.int32)
        with self._in_turn(*ids.shape):
            self._library.mmfree_run(
                *(self._handle, _address(tokens), *ids.shape),
                *(_address(state), _address(logits), wanted),
                None if ranges is None else _address(ranges),
            )
            self._count()

    def watch(
        self, ids: NDArray[np.integer], state: NDArray[np.signedinteger[Any]]
    ) -> dict[tuple[str, str], tuple[int, int, int]]:
        """Play ids [B, T], and see how near intermediates come to the limits of their widths.

        Of each segment and intermediate, after ("embedding", "embedding"): its largest magnitude,
        how many values lay at a limit, and how many there were. For models trained here.
        """
        assert isinstance(self.tape, Tape)
        logits = np.empty((*ids.shape, self.tape.config.head_size), dtype=np.int32)
        found = np.zeros((len(self.tape.segments) * _MOST_RANGES + 1, 2), dtype=np.int64)
        self._run(ids, state, logits, _ALL, found)
        embedded = ids.size * self.tape.config.hidden_size
        places = [(len(self.tape.segments), 0, "embedding", "embedding", embedded)]
        for number, segment in enumerate(self.tape.segments):
            rows = segment.matrices[0].rows
            sizes = {"q": segment.fan_in, "acc": len(segment.matrices) * rows}
            places += [
                (number, place, segment.name, name, ids.size * sizes.get(name, rows))
                for place, name in enumerate(WATCHED[segment.kind])
            ]
        return {
            (segment, name): (*found[number * _MOST_RANGES + place].tolist(), count)
            for number, place, segment, name, count in places
        }

    def draw(
        self,
        logits: NDArray[np.int32],
        state: NDArray[np.signedinteger[Any]],
        count: int,
        choice: Choice,
        ends: NDArray[np.bool_],
        *,
        feeds_last: bool,
    ) -> NDArray[np.int32]:
        """Rows chosen, each fed back: ``count`` of them, or up to one of ``ends`` [rows].

        ``logits`` [rows]: to choose the first by; afterwards those after the last row, if it was
        fed back, too (``feeds_last``). The registers of ``choice`` go on.
        """
        config = self.tape.config
        if config.head_size > config.vocab_size:
            raise InputError(
                f"a head of {config.head_size} rows, but {config.vocab_size} tokens: rows cannot be"
                " fed back"
            )
        self._check(state, 1)
        _check_array("logits", logits, (config.head_size,), np.int32)
        _check_array("ends", ends, (config.head_size,), np.bool_)
        rows = np.empty(count, dtype=np.int32)
        marks = np.ascontiguousarray(ends, dtype=np.uint8)
        with self._in_turn():
            number = self._library.mmfree_generate(
                *(self._handle, choice, _address(logits), _address(state)),
                *(marks.ctypes.data_as(POINTER(c_uint8)), count, int(feeds_last), _address(rows)),
            )
            self._count()
        return rows[:number]

    def weights_bytes(self) -> int:
        """Bytes of the packed weights: each token reads them once."""
        return int(self._library.mmfree_weights_bytes(self._handle))

    def huge_pages(self) -> float | None:
        """Share of them in huge pages (``huge_share``)."""
        return huge_share(int(self._library.mmfree_weights(self._handle)), self.weights_bytes())

    def read_weights(self) -> float:
        """Seconds of one pure read of the packed weights by all threads."""
        with self._in_turn():
            return float(self._library.mmfree_read_weights(self._handle))

    def _check(self, state: NDArray[np.signedinteger[Any]], batch: int) -> None:
        config = self.tape.config
        shape = (config.num_layers, batch, config.state_width)
        _check_array("state", state, shape, self._dtype)

    def _count(self) -> None:
        found = np.zeros(NUM_SITES, dtype=np.int64)
        self._library.mmfree_take_saturations(self._handle, _address(found))
        for site, number in zip(self.sites, found.tolist(), strict=False):
            self.saturations[site] = self.saturations.get(site, 0) + number

    def _set_pow2(self, tape: Tape) -> None:
        library, handle = self._library, self._handle
        self._embedding = np.ascontiguousarray(tape.embedding)
        library.mmfree_set_embedding(handle, _address(self._embedding), None)
        roots = np.zeros(_TABLE_ENTRIES, dtype=np.int16)
        table = reciprocal_root_table()
        roots[: len(table)] = table
        library.mmfree_set_pow2_tables(
            handle, _address(tape.sigmoid), _address(tape.silu), _address(roots)
        )
        for number, segment in enumerate(tape.segments):
            for index, matrix in enumerate(segment.matrices):
                name = f"{segment.name}, matrix {matrix.role}"
                size = matrix.rows * matrix.fan_in
                self._pack(name, number, index, matrix.codes, size, 0)
                base = ROLES[matrix.role].shift_base(
                    matrix.exponent, tape.config.gate, tape.formats
                )
                library.mmfree_set_pow2_constants(handle, number, index, matrix.multiplier, base)
                if matrix.bias is not None:
                    bias = np.ascontiguousarray(matrix.bias)
                    library.mmfree_set_pow2_bias(handle, segment.layer, _address(bias))
            tape.let_go()

    def _set_absmax(self, tape: AbsmaxTape) -> None:
        library, handle = self._library, self._handle
        self._embedding = tape.array("embedding/rows")
        self._scales = tape.array("embedding/scale")
        library.mmfree_set_embedding(handle, _address(self._embedding), _address(self._scales))
        tables = [tape.array("sigmoid/values"), tape.array("sigmoid/rises")]
        tables.append(np.ascontiguousarray(tape.array("lower_bounds"), dtype=np.int32))
        library.mmfree_set_absmax_tables(handle, *map(_address, tables))
        for number, segment in enumerate(tape.segments):
            norm = None if segment.norm is None else _int32(segment.norm.values)
            library.mmfree_set_absmax_segment(
                handle,
                number,
                None if norm is None else _address(norm),
                0 if segment.norm is None else segment.norm.fraction_bits,
                *segment.offset,
            )
            for index, matrix in enumerate(segment.matrices):
                name, size = f"{segment.name}, matrix {matrix.role}", matrix.rows * matrix.fan_in
                codes = tape.array(f"{segment.name}/{matrix.role}/trits")
                # gate and up are the halves of one matrix.
                halves = 2 if (matrix.role,) == ROLES_BY_KIND["glu"] else 1
                for half in range(halves):
                    self._pack(name, number, index + half, codes, size, half * size // halves)
                gain = _int32(matrix.gain.values)
                library.mmfree_set_absmax_constants(
                    handle,
                    *(number, index, _address(gain), matrix.gain.fraction_bits),
                    *(matrix.mantissa, matrix.exponent),
                )

    def _pack(
        self, name: str, segment: int, index: int, codes: NDArray[np.uint8], size: int, first: int
    ) -> None:
        wrong = self._library.mmfree_set_matrix(
            self._handle, segment, index, _address(codes), size, first
        )
        if wrong == 1:
            raise TapeError(f"{name}: a byte is no code of 5 trits (0..242)")
        if wrong:
            raise TapeError(f"{name}: the padding of a matrix must be zero trits")


def choice(
    registers: tuple[int, int],
    temperature: int,
    fraction_bits: int,
    choosable: NDArray[np.bool_] | None,
) -> Choice:
    """What rows are chosen by: as ``Sampler`` does from the same registers."""
    made = Choice()
    made.a, made.b = registers
    # Kept with it: the library reads them.
    made.tables = (_GUMBEL, None if choosable is None else choosable.astype(np.uint8))
    made.gumbel = _GUMBEL.ctypes.data
    made.choosable = None if choosable is None else made.tables[1].ctypes.data
    made.temperature, made.logit_fb = temperature, fraction_bits
    return made


_GUMBEL = np.ascontiguousarray(gumbel_table(), dtype=np.int32)


def _threads(tape: AnyTape, asked: int | None) -> int:
    allowed = allowed_threads()
    if asked is not None:
        check_threads(asked)
        return asked
    return max(1, min(allowed, tape.config.num_ternary_weights // 4 // _BYTES_PER_THREAD))


def _sizes(tape: AnyTape) -> Settings:
    config = tape.config
    settings = Settings()
    settings.hidden_size, settings.intermediate_size = config.hidden_size, config.intermediate_size
    settings.num_layers, settings.vocab_size = config.num_layers, config.vocab_size
    settings.head_size, settings.forget_fb = config.head_size, tape.formats.forget_fb
    return settings


def pow2_settings(tape: Tape) -> Settings:
    """What the library needs to know of a model trained here; without path and threads."""
    settings, formats = _sizes(tape), tape.formats
    settings.arithmetic, settings.gate = 0, GATES.index(tape.config.gate)
    settings.token_shift = tape.config.token_shift
    settings.embedding_shift = tape.embedding_shift
    settings.index_shift = formats.state_fb - formats.index_fb
    settings.product_shift = formats.index_fb + formats.state_fb - formats.residual_fb
    if min(settings.index_shift, settings.product_shift) < 0:
        raise InputError(f"the fast player has no formats like {formats}: take --backend golden")
    return settings


def _absmax_settings(tape: AbsmaxTape) -> Settings:
    settings, formats = _sizes(tape), tape.formats
    settings.arithmetic = 1
    settings.embedding_shift = tape.embedding_fb - formats.residual_fb
    # A row times its scale has 23 bits, and the residual of a token 32.
    if settings.embedding_shift < -8:
        raise InputError(f"the fast player has no formats like {formats}: take --backend golden")
    settings.residual_fb, settings.activation_fb = formats.residual_fb, formats.activation_fb
    settings.logit_fb = formats.logit_fb
    mantissa, exponent = math.frexp(PROJECTION_EPS)
    settings.eps_mantissa = math.floor(mantissa * 2**SCALAR_BITS)
    settings.eps_exponent = exponent - SCALAR_BITS
    return settings


def _check_array(
    name: str, array: NDArray[Any], shape: tuple[int, ...], dtype: type[np.generic]
) -> None:
    """InputError unless the library may write, or read, all of an array."""
    if (array.shape, array.dtype) != (shape, dtype) or not array.flags.c_contiguous:
        raise InputError(
            f"{name} must be {np.dtype(dtype).name} {list(shape)} in one piece, got {array.dtype}"
            f" {list(array.shape)}"
        )


def _int32(values: NDArray[np.integer]) -> NDArray[np.int32]:
    return np.ascontiguousarray(values, dtype=np.int32)


def _address(array: NDArray[Any]) -> ctypes.c_void_p:
    if not array.flags.c_contiguous:
        raise ValueError("an array in one piece is needed")
    return ctypes.c_void_p(array.ctypes.data)

"""The fast player against the golden model: logits, state and counters, without a difference."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmfree.contract.pow2 import GATES, MAX_FAN_IN
from mmfree.contract.shape import AbsmaxConfig, ModelConfig
from mmfree.errors import InputError
from mmfree.golden.opening import golden_of
from mmfree.golden.sampling import Sampler, seed_registers
from mmfree.inference.native import library, player
from mmfree.inference.native.library import PATH_VARIABLE, paths_here
from mmfree.inference.native.player import Player, choice
from mmfree.tape.container import TapeError
from mmfree.tape.reading import AnyTape
from tests.support.integers.absmax_tapes import random_absmax_tape
from tests.support.sim.shapes import Shape

REAL_THREADS = library.allowed_threads

SHAPES = ((1, 1), (1, 3), (3, 4), (1, 16), (2, 21))
"""Sequences and positions: passes that are full, and passes that are not."""


@dataclass(frozen=True)
class Played:
    """What the golden model makes of ids [B, T]."""

    ids: NDArray[np.int64]
    logits: NDArray[np.int32]
    state: NDArray[Any]
    saturations: dict[str, int]

    @classmethod
    def of(cls, tape: AnyTape, batch: int, positions: int, seed: int = 1) -> Played:
        ids = np.random.default_rng(seed).integers(0, tape.config.vocab_size, (batch, positions))
        golden = golden_of(tape)
        state, logits = golden.state(batch), []
        for column in ids.T:
            found, state = golden.step(column, state)
            logits.append(found)
        return cls(ids, np.stack(logits, axis=1), state, dict(golden.saturations))


def pow2_tape(gate: str, *, wild: bool, token_shift: int = 0) -> AnyTape:
    config = ModelConfig(
        vocab_size=9,
        head_size=7,
        hidden_size=37,
        intermediate_size=53,
        num_layers=2,
        gate=gate,
        token_shift=token_shift,
    )
    return Shape(name="odd", config=config, lanes=0).tape(1, wild=wild)


def absmax_tape(folder: Path, sizes: tuple[int, int, int, int], *, wild: bool) -> AnyTape:
    vocabulary, d, intermediate, layers = sizes
    config = AbsmaxConfig(
        vocab_size=vocabulary,
        hidden_size=d,
        intermediate_size=intermediate,
        num_layers=layers,
    )
    return random_absmax_tape(folder, config, d, wild=wild)


def check(
    tape: AnyTape,
    monkeypatch: pytest.MonkeyPatch,
    shapes: Sequence[tuple[int, int]] = SHAPES,
) -> int:
    """Every path of this processor, with one thread and two; returns the values compared."""
    compared = 0
    for batch, positions in shapes:
        played = Played.of(tape, batch, positions)
        for path in paths_here():
            monkeypatch.setenv(PATH_VARIABLE, path)
            for threads in (1, 2):
                fast = Player(tape, threads)
                assert (fast.path, fast.threads) == (path, threads)
                state = fast.state(batch)
                logits = fast.run(played.ids, state)
                assert logits.tolist() == played.logits.tolist(), f"{path}, {threads} threads"
                assert state.dtype == played.state.dtype
                assert state.tolist() == played.state.tolist(), f"{path}, {threads} threads"
                assert fast.saturations == played.saturations
                compared += logits.size + state.size
    return compared


def due(tape: AnyTape) -> int:
    """How many values ``check`` must compare."""
    config = tape.config
    words = config.num_state_words
    values = sum(b * (t * config.head_size + words) for b, t in SHAPES)
    return 2 * len(paths_here()) * values


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a test may use only one."""
    for module in (library, player):
        monkeypatch.setattr(module, "allowed_threads", lambda: 2)


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("shift", [0, 18, 37], ids=["unshifted", "half", "all"])
def test_models_trained_here(
    shift: int, gate: str, wild: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = pow2_tape(gate, wild=wild, token_shift=shift)
    assert check(tape, monkeypatch) == due(tape)


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
@pytest.mark.parametrize(
    "sizes", [(11, 37, 53, 2), (5, 1, 1, 1), (40, 64, 33, 3)], ids=["odd", "one channel", "wide"]
)
def test_published_checkpoints(
    sizes: tuple[int, int, int, int], wild: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = absmax_tape(tmp_path, sizes, wild=wild)
    assert check(tape, monkeypatch) == due(tape)


def test_products_beyond_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """65,535 equal elements, all weights +1, and the largest multiplier and shift: with the half
    step, 2.2 * 10^9.
    """
    config = ModelConfig(
        vocab_size=2,
        head_size=2,
        hidden_size=4,
        intermediate_size=MAX_FAN_IN,
        num_layers=1,
        gate="hard",
    )
    tape = Shape(name="long", config=config, lanes=0).tape(1, wild=False)
    # gate and up at their largest; down with the largest shift.
    scales: dict[str, dict[str, Any]] = {"glu": {"exponent": 10}, "down": {"exponent": -13}}
    segments = tuple(
        replace(
            segment,
            matrices=tuple(
                replace(
                    matrix.with_trits(np.ones_like(matrix.trits)),
                    **({"multiplier": 256} | scales.get(segment.kind, {})),
                )
                for matrix in segment.matrices
            ),
        )
        for segment in tape.segments
    )
    embedding = np.array([[100] * 4, [-100] * 4], dtype=np.int8)
    check(replace(tape, segments=segments, embedding=embedding), monkeypatch, [(1, 2)])


def test_a_sequence_goes_on_from_its_state(tmp_path: Path) -> None:
    for tape in (
        pow2_tape("signed", wild=True),
        pow2_tape("hard", wild=True, token_shift=5),
        absmax_tape(tmp_path, (11, 37, 53, 2), wild=True),
    ):
        whole = Played.of(tape, 2, 9)
        fast = Player(tape)
        state = fast.state(2)
        parts = [fast.run(whole.ids[:, part], state) for part in (slice(4), slice(4, 9))]
        assert np.concatenate(parts, axis=1).tolist() == whole.logits.tolist()
        assert fast.saturations == whole.saturations, "of both parts"
        again = fast.state(2)
        assert fast.run_to_last(whole.ids, again).tolist() == whole.logits[:, -1].tolist()
        assert again.tolist() == state.tolist() == whole.state.tolist()
        fast.reset_counters()
        assert not any(fast.saturations.values())


@pytest.mark.parametrize("temperature", [0, 40, 255])
def test_rows_are_drawn_as_the_sampler_draws_them(temperature: int, tmp_path: Path) -> None:
    """In one go or in two; also where some rows cannot be chosen."""
    tape = absmax_tape(tmp_path, (40, 37, 53, 2), wild=False)
    for choosable in (None, np.arange(40) % 3 > 0):
        golden, sampler = golden_of(tape), Sampler(7)
        logits, state = golden.step(np.array([3]), golden.state(1))
        bits, expected = golden.fraction_bits, []
        for _ in range(12):
            expected.append(sampler.choose(logits[0], temperature, bits, choosable))
            logits, state = golden.step(np.array([expected[-1]]), state)
        fast = Player(tape)
        kept = fast.state(1)
        row = fast.run_to_last(np.array([[3]]), kept)[0]
        how = choice(seed_registers(7), temperature, bits, choosable)
        nothing = np.zeros(40, dtype=bool)
        found = fast.draw(row, kept, 5, how, nothing, feeds_last=True).tolist()
        found += fast.draw(row, kept, 7, how, nothing, feeds_last=True).tolist()
        assert found == expected
        assert row.tolist() == logits[0].tolist()
        assert kept.tolist() == state.tolist()


def test_drawing_ends_with_what_ends_a_text(tmp_path: Path) -> None:
    tape = absmax_tape(tmp_path, (40, 37, 53, 2), wild=False)
    fast = Player(tape)

    def rows(ends: NDArray[np.bool_], count: int) -> list[int]:
        state = fast.state(1)
        logits = fast.run_to_last(np.array([[3]]), state)[0]
        how = choice(seed_registers(1), 64, 16, None)
        return fast.draw(logits, state, count, how, ends, feeds_last=False).tolist()

    free = rows(np.zeros(40, dtype=bool), 9)
    end = next(row for row in free[2:] if row not in free[:2])
    assert rows(np.arange(40) == end, 9) == free[: free.index(end) + 1]


def test_ids_that_the_model_does_not_know_are_refused() -> None:
    fast = Player(pow2_tape("hard", wild=False))
    for ids in ([[9]], [[-1]]):
        with pytest.raises(ValueError, match=r"ids must lie in 0\.\.8"):
            fast.run(np.array(ids), fast.state(1))


def test_threads_and_paths_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = pow2_tape("hard", wild=False)
    for threads in (0, 3):
        with pytest.raises(ValueError, match=rf"--threads must lie in 1\.\.2, .*, got {threads}"):
            Player(tape, threads)
    monkeypatch.setenv(PATH_VARIABLE, "avx3")
    with pytest.raises(ValueError, match="MMFREE_CPU_PATH must be one of plain, avx2"):
        Player(tape)
    monkeypatch.setattr(library, "paths_here", lambda: ("plain", "avx2"))
    monkeypatch.setenv(PATH_VARIABLE, "neon")
    with pytest.raises(ValueError, match="this processor does not have it, but plain, avx2"):
        Player(tape)


def test_a_container_has_its_share_of_the_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(library, "CPU_SHARE", tmp_path / "cpu.max")
    assert REAL_THREADS() == 8
    for text, number in {
        "max 100000": 8,
        "250000 100000": 2,
        "50000 100000": 1,
        "9900000 100000": 8,
    }.items():
        (tmp_path / "cpu.max").write_text(f"{text}\n")
        assert REAL_THREADS() == number


def test_the_fastest_path_is_taken() -> None:
    assert Player(pow2_tape("hard", wild=False)).path == paths_here()[-1]


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([121, 243], "a byte is no code of 5 trits"),
        ([121, 242], "padding of a matrix must be zero"),
    ],
)
def test_weights_that_are_no_codes_are_refused(codes: list[int], message: str) -> None:
    """37 x 37 weights end after the fourth of a byte. They were codes when the tape was read."""
    tape = pow2_tape("hard", wild=False)
    tape.segments[0].matrices[0].codes[-2:] = codes
    with pytest.raises(TapeError, match=rf"layer 0 gates, matrix i: .*{message}"):
        Player(tape)


def test_the_number_of_threads_may_change_from_call_to_call(tmp_path: Path) -> None:
    """Also right after a call that all took part in: under ThreadSanitizer it shows who is late."""
    tape = absmax_tape(tmp_path, (11, 37, 53, 2), wild=False)
    played, fast = Played.of(tape, 1, 3), Player(tape, 2)
    for call in range(300):
        fast._library.mmfree_set_threads(fast._handle, 1 + call % 2)
        state = fast.state(1)
        assert fast.run(played.ids, state).tolist() == played.logits.tolist()
        assert state.tolist() == played.state.tolist()


def test_what_the_library_could_not_hold_is_refused() -> None:
    fast = Player(pow2_tape("hard", wild=False))
    state, how = fast.state(1), choice(seed_registers(0), 0, 9, None)
    logits, ends = np.zeros(7, dtype=np.int32), np.zeros(7, dtype=bool)
    for refused, message in (
        (lambda: fast.run(np.array([[1], [2]]), state), r"state must be int16 \[2, 2, 37\]"),
        (lambda: fast.run(np.array([[1]]), state.astype(np.int32)), "state must be int16"),
        (lambda: fast.run(np.array([[1]]), np.asfortranarray(state.repeat(2, 1))[:, :1]), "piece"),
        (
            lambda: fast.run(np.array([1]), state),
            r"ids must be integers \[B, T\], got int64 \(1,\)",
        ),
        (lambda: fast.run(np.array([[1.0]]), state), "ids must be integers"),
        (lambda: fast.run_to_last(np.zeros((1, 0), int), state), "there is no position to play"),
        (
            lambda: fast.draw(logits[:6], state, 1, how, ends, feeds_last=False),
            r"logits must be int32 \[7\]",
        ),
        (lambda: fast.draw(logits, state, 1, how, ends[:6], feeds_last=False), "ends must be bool"),
    ):
        with pytest.raises(InputError, match=message):
            refused()


def test_ranges_are_seen_by_every_thread() -> None:
    """Of matrices that they share, and of sequences of their own."""
    tape = pow2_tape("hard", wild=True)
    for batch, positions in ((1, 9), (2, 21)):
        ids = np.random.default_rng(2).integers(0, 9, (batch, positions))
        found = []
        for threads in (1, 2):
            fast = Player(tape, threads)
            found.append(fast.watch(ids, fast.state(batch)))
        assert found[0] == found[1]
        assert any(0 < at_limit < count for _, at_limit, count in found[0].values())


def test_threads_of_python_take_turns(tmp_path: Path) -> None:
    """Each with a state of its own, on one player; a call lasts long enough to be interrupted."""
    tape = absmax_tape(tmp_path, (40, 64, 96, 2), wild=False)
    fast = Player(tape, 2)
    played = [Played.of(tape, 1, 40, seed) for seed in range(4)]

    def play(one: Played) -> int:
        for _ in range(30):
            state = fast.state(1)
            assert fast.run(one.ids, state).tolist() == one.logits.tolist()
            assert state.tolist() == one.state.tolist()
        return one.logits.size

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(play, played)) == 4 * 40 * 40
    assert fast.saturations == {
        site: 30 * sum(one.saturations[site] for one in played) for site in fast.sites
    }


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_is_told_to_make_its_own(tmp_path: Path) -> None:
    """Its copy has no threads: it would wait for them for ever, also when it is given up."""
    fast = Player(pow2_tape("hard", wild=False), 2)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            fast.run(np.array([[1]]), fast.state(1))
        except RuntimeError as error:
            (tmp_path / "said").write_text(str(error))
        fast.__del__()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert "make one after the fork" in (tmp_path / "said").read_text()


@pytest.mark.parametrize("asked", [None, 2])
def test_as_many_threads_take_part_as_gain_something(
    asked: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One while others are in the way, all where there are sequences for all; with the same values.

    Unless a number was asked for.
    """
    now = {"monotonic": 100.0, "thread_time": 0.0}
    for clock in now:
        monkeypatch.setattr(player.time, clock, lambda clock=clock: now[clock])
    monkeypatch.setattr(player, "allowed_threads", lambda: 3)
    tape = absmax_tape(tmp_path, (11, 37, 53, 2), wild=True)
    monkeypatch.setattr(player, "_BYTES_PER_THREAD", tape.config.num_ternary_weights // 4 // 2)
    monkeypatch.setattr(player, "WORTH_WAKING", 40 * tape.config.num_ternary_weights)
    fast = Player(tape, asked)
    assert fast.threads == 2
    library, threads = fast._library, []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(library, name)

        def mmfree_set_threads(self, handle: int, number: int) -> None:
            threads.append(number)
            library.mmfree_set_threads(handle, number)

        def mmfree_run(self, *given: Any) -> None:
            library.mmfree_run(*given)
            for clock, seconds in spent.items():
                now[clock] += seconds

    fast._library = Watched()  # type: ignore[assignment]
    for batch, positions, wall, worked, number in [
        (2, 9, 0.1, 0.09, 2),
        # Fewer sequences than processors; and little to do, then enough.
        (2, 21, 0.1, 0.1, 2),
        (3, 13, 0.1, 0.1, 2),
        (3, 14, 0.1, 0.1, 3),
        (5, 14, 0.1, 0.1, 3),
        (1, 50, 0.1, 0.1, 2),
        # 0.07 of 0.1 s: then one for 0.02 s; the next time twice as long.
        (2, 9, 0.1, 0.07, 2),
        (3, 14, 0.019, 0.019, 1),
        (2, 9, 0.1, 0.1, 1),
        (2, 9, 0.1, 0.07, 2),
        (2, 9, 0.039, 0.039, 1),
        (2, 9, 0.1, 0.1, 1),
        (2, 9, 0.1, 0.1, 2),
        (2, 9, 0.1, 0.07, 2),
        (2, 9, 0.02, 0.02, 1),
        # A millisecond says nothing.
        (2, 9, 0.0009, 0, 2),
        (2, 9, 0.1, 0.1, 2),
    ]:
        spent = {"monotonic": wall, "thread_time": worked}
        played, state = Played.of(tape, batch, positions), fast.state(batch)
        assert fast.run(played.ids, state).tolist() == played.logits.tolist()
        assert state.tolist() == played.state.tolist()
        if asked is None:
            assert threads.pop() == number
        assert not threads

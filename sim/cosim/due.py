"""What must come out of a run, known before it: the golden model plays what was asked for."""

from __future__ import annotations

from collections.abc import Sequence as Items
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mmfree.chip.exchange import LIMIT_BITS
from mmfree.contract.pow2 import SATURATION_SITES, TEMPERATURE_MAX
from mmfree.errors import InputError
from mmfree.golden.opening import golden_of
from mmfree.golden.rounding import PlaysTokens
from mmfree.golden.sampling import Sampler, seed_registers
from mmfree.tape.reading import AnyTape
from sim.cosim.run_folder import Sequence
from sim.cosim.verdict import Played, join


class Model:
    """The golden model, token by token as a chip plays."""

    def __init__(self, tape: AnyTape) -> None:
        self.config, self.golden = tape.config, cast(PlaysTokens[Any], golden_of(tape))
        self.fraction_bits = self.golden.fraction_bits
        self.state: NDArray[np.signedinteger[Any]] = self.golden.state(1)
        self.sampler = Sampler(0)

    def play(
        self, token: int, begin: bool, temperature: int = 0
    ) -> tuple[NDArray[np.signedinteger[Any]], int, dict[str, int]]:
        """Logits, row, and saturations of one token by site, 0 where the arithmetic has none."""
        if begin:
            self.state = self.golden.state(1)
        self.golden.reset_counters()
        logits, self.state = self.golden.step(np.array([token]), self.state)
        row = self.sampler.choose(logits[0], temperature, self.fraction_bits)
        return logits[0], row, dict.fromkeys(SATURATION_SITES, 0) | self.golden.saturations


def expect(sequences: Items[Sequence], tapes: Items[AnyTape]) -> list[Played]:
    """All that a chip must give for sequences, as the golden model plays them.

    It says where a stop token ends a sequence.

    Raises
    ------
    InputError
        If a sequence cannot be played, or there is none.
    """
    check_sequences(sequences, tapes)
    models: dict[int, Model] = {}
    expected = []
    for sequence in sequences:
        if sequence.model not in models:
            models[sequence.model] = Model(tapes[sequence.model])
        expected.append(_play(models[sequence.model], sequence))
    return expected


def _play(model: Model, sequence: Sequence) -> Played:
    parts = []
    model.sampler = Sampler(sequence.seed)
    if sequence.state is not None:
        model.state = sequence.state[:, None].copy()
    row = 0
    for position in range(sequence.positions):
        # The last token of the prompt is sent with the request to generate; each before it is a
        # request of its own, which ends with it.
        generating = position >= len(sequence.prompt) - 1
        logits, row, saturations = model.play(
            sequence.prompt[position] if position < len(sequence.prompt) else row,
            begin=position == 0 and sequence.state is None,
            temperature=sequence.temperature if generating else 0,
        )
        stopped = generating and row == sequence.stop
        parts.append(
            Played.position(
                row=row,
                last=not generating or stopped or position == sequence.positions - 1,
                logits=logits,
                state=model.state[:, 0],
                saturations=saturations,
            )
        )
        if stopped:
            break
    return join([*parts, Played.end(model.config, model.state[:, 0])])


def check_sequences(sequences: Items[Sequence], tapes: Items[AnyTape]) -> None:
    """InputError for the first sequence that cannot be played, or if there is none."""
    if not sequences:
        raise InputError("there must be at least one sequence to play, got none")
    for sequence in sequences:
        _check_sequence(sequence, tapes)


def _check_sequence(sequence: Sequence, tapes: Items[AnyTape]) -> None:
    if not sequence.prompt:
        raise InputError("a prompt must hold at least one token, got none")
    if not 0 <= sequence.model < len(tapes):
        raise InputError(f"there is no model {sequence.model}: {len(tapes)} were given")
    config = tapes[sequence.model].config
    vocab_size, head_size = config.vocab_size, config.head_size
    if not 0 <= sequence.temperature <= TEMPERATURE_MAX:
        raise InputError(
            f"temperature must lie in 0..{TEMPERATURE_MAX} 64ths, got {sequence.temperature}"
        )
    seed_registers(sequence.seed)
    if not 0 <= sequence.generate < 1 << LIMIT_BITS:
        raise InputError(
            f"generate must lie in 0..{(1 << LIMIT_BITS) - 1}, got {sequence.generate}"
        )
    if sequence.stop is not None and not 0 <= sequence.stop < head_size:
        raise InputError(f"stop token {sequence.stop} is not in the vocabulary of {head_size}")
    if bad := [token for token in sequence.prompt if not 0 <= token < vocab_size]:
        raise InputError(f"token {bad[0]} is not in the vocabulary of {vocab_size}")
    if sequence.generate > 1 and head_size > vocab_size:
        raise InputError("the head's rows are not tokens of this vocabulary: nothing to feed back")
    shape = config.num_layers, config.state_width
    if sequence.state is not None and sequence.state.shape != shape:
        raise InputError(f"a state must be of shape {shape}, got {sequence.state.shape}")

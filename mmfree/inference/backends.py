"""Backends: whatever turns token ids into logits.

Torch is imported only for the two that need it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mmfree.errors import InputError
from mmfree.golden.absmax import AbsmaxGolden
from mmfree.golden.pow2 import Golden
from mmfree.published.export import export_published, read_tokenizer
from mmfree.published.hgrn_bit import CONFIG_NAME, MODEL_TYPE, model_type, read_config
from mmfree.tape.absmax import AbsmaxTape
from mmfree.tape.pow2 import Tape
from mmfree.tape.reading import is_absmax, read_tape
from mmfree.text.subword import JsonTokenizer, SentencePieceTokenizer
from mmfree.text.tokenizer import Tokenizer
from mmfree.text.tokenizers import tokenizer_from_dict

TORCH_BACKENDS = ("float", "fakequant")
BACKENDS = (*TORCH_BACKENDS, "golden", "rtl")


class Backend(Protocol):
    """A model for B independent sequences at a time."""

    name: str
    tokenizer: Tokenizer

    def state(self, batch: int) -> Any:
        """State at the start of a sequence."""
        ...

    def run(self, ids: NDArray[np.integer], state: Any) -> tuple[NDArray[np.float32], Any]:
        """Logits in nats [B, T, rows] for ids [B, T], and the state behind them."""
        ...


class _GoldenBackend:
    """A golden model on its tape."""

    name = "golden"

    def __init__(
        self, tape: Tape | AbsmaxTape, golden: Golden | AbsmaxGolden, logit_fb: int
    ) -> None:
        self.tokenizer = tokenizer_from_dict(tape.tokenizer)
        self._golden: Any = golden
        self._head_size, self._logit_fb = tape.config.head_size, logit_fb

    def state(self, batch: int) -> Any:
        """Zeros, integers [L, B, d]."""
        return self._golden.state(batch)

    def run(self, ids: NDArray[np.integer], state: Any) -> tuple[NDArray[np.float32], Any]:
        """See Backend."""
        logits = np.empty((*ids.shape, self._head_size), dtype=np.float32)
        # Many small products: with more than one thread BLAS waits more than it computes.
        with threadpool_limits(1, user_api="blas"):
            for position in range(ids.shape[1]):
                step, state = self._golden.step(ids[:, position], state)
                logits[:, position] = step
        return logits * np.float32(2.0**-self._logit_fb), state


class GoldenBackend(_GoldenBackend):
    """The golden model on a tape of a model trained here."""

    def __init__(self, tape: Tape) -> None:
        self.tape, self.golden = tape, Golden(tape)
        super().__init__(tape, self.golden, tape.formats.residual_fb)


class AbsmaxGoldenBackend(_GoldenBackend):
    """The golden model on the tape of a published checkpoint."""

    def __init__(self, tape: AbsmaxTape) -> None:
        if tape.tokenizer.get("kind") == "none":
            raise InputError(
                f"{tape.path}: the tape has no tokenizer: put tokenizer.json or tokenizer.model"
                " into the checkpoint's folder and export it again"
            )
        self.tape, self.golden = tape, AbsmaxGolden(tape)
        try:
            super().__init__(tape, self.golden, tape.formats.logit_fb)
        except ValueError as error:
            raise InputError(f"{tape.path}: {error}") from None
        _begin_with(self.tokenizer, tape.config.bos_token_id)
        if self.tokenizer.vocab_size > tape.config.vocab_size:
            raise InputError(
                f"{tape.path}: its tokenizer has ids up to {self.tokenizer.vocab_size - 1}, its"
                f" model {tape.config.vocab_size} words"
            )


class _TorchBackend:
    """A model under torch."""

    def __init__(self, name: str, model: Any, tokenizer: Tokenizer) -> None:
        self.name, self.model, self.tokenizer = name, model, tokenizer

    def state(self, batch: int) -> Any:
        """Zeros, a tensor [L, B, d]."""
        return self.model.initial_state(batch)

    def run(self, ids: NDArray[np.integer], state: Any) -> tuple[NDArray[np.float32], Any]:
        """See Backend."""
        import torch

        with torch.no_grad():
            tensor = torch.from_numpy(np.ascontiguousarray(ids, dtype=np.int64))
            logits, state = self.model(tensor, state, mode=self.name)
        if not bool(torch.isfinite(logits).all()):
            raise InputError(
                f"backend {self.name}: logits are not finite: weights of the model are too large,"
                " or damaged"
            )
        return logits.numpy(), state


class TorchBackend(_TorchBackend):
    """A checkpoint under torch, mode "float" or "fakequant"."""

    def __init__(self, folder: Path, mode: str) -> None:
        from mmfree.training.checkpoint import load_checkpoint

        checkpoint = load_checkpoint(folder)
        super().__init__(mode, checkpoint.model, checkpoint.tokenizer)


class PublishedTorchBackend(_TorchBackend):
    """A published checkpoint under torch, in the arithmetic that it was released with.

    Mode "float".
    """

    def __init__(self, folder: Path, tokenizer: dict[str, Any]) -> None:
        from mmfree.published.model import load_published

        model = load_published(folder)
        super().__init__("float", model, tokenizer_from_dict(tokenizer))
        _begin_with(self.tokenizer, model.config.bos_token_id)


def _begin_with(tokenizer: Tokenizer, start: int | None) -> None:
    """Let sequences begin with what a published checkpoint names."""
    if isinstance(tokenizer, JsonTokenizer | SentencePieceTokenizer) and start is not None:
        tokenizer.start = start


def load_tape_or_export(path: Path) -> Tape:
    """The tape at ``path``, or that of the checkpoint folder at ``path``."""
    if not path.is_dir():
        return read_tape(path)
    if is_published(path):
        raise InputError(
            f"{path}: a published checkpoint: `mmfree export` makes a tape of it, which only the"
            " golden model plays"
        )
    from mmfree.training.checkpoint import load_checkpoint
    from mmfree.training.export import export_tape

    checkpoint = load_checkpoint(path)
    return export_tape(checkpoint.model, checkpoint.tokenizer.to_dict())


def is_published(folder: Path) -> bool:
    """Whether a folder is a checkpoint that was not trained here."""
    return (folder / CONFIG_NAME).is_file() and model_type(folder) is not None


def _load_published(folder: Path, name: str) -> Backend:
    """The backend ``name`` for a published checkpoint.

    Golden plays a tape that is gone when this returns: nothing of it is read later.
    """
    config = read_config(folder)
    if name not in ("float", "golden"):
        reason = (
            "float has the released arithmetic, int8 activations and ternary weights; golden has"
            " the integers of its tape"
            if name == "fakequant"
            else "the accelerator does not have the arithmetic of published checkpoints yet"
        )
        raise InputError(
            f"{folder}: a published checkpoint (model_type {MODEL_TYPE!r}) is played by float or"
            f" golden, not by {name}: {reason}"
        )
    tokenizer = read_tokenizer(folder, config.vocab_size, config.bos_token_id)
    if tokenizer["kind"] == "none":
        raise InputError(
            f"{folder}: no tokenizer: put tokenizer.json or tokenizer.model of the model into the"
            " folder"
        )
    if name == "float":
        return PublishedTorchBackend(folder, tokenizer)
    with tempfile.TemporaryDirectory(prefix="mmfree-") as place:
        tape = Path(place) / "model.tape"
        export_published(folder, tape, tokenizer=tokenizer)
        return AbsmaxGoldenBackend(AbsmaxTape(tape))


def load_backend(path: Path, name: str | None, lanes: int = 64) -> Backend:
    """The backend ``name`` for a checkpoint folder or a tape.

    By default fakequant (float for a published one) and golden. ``lanes``: of the simulated chip,
    for "rtl".

    Raises
    ------
    InputError
        If a tape is to be played by torch, the name is unknown, or a published checkpoint is to be
        played by another than float and golden.
    """
    published = path.is_dir() and is_published(path)
    if name is None:
        name = "float" if published else "fakequant" if path.is_dir() else "golden"
    if name not in BACKENDS:
        raise InputError(f"--backend must be one of {', '.join(BACKENDS)}, got {name!r}")
    if published:
        return _load_published(path, name)
    if name == "golden" and is_absmax(path):
        return AbsmaxGoldenBackend(AbsmaxTape(path))
    if name in TORCH_BACKENDS:
        if not path.is_dir():
            raise InputError(
                f"{path}: backend {name} needs the checkpoint folder; a tape is played by golden"
                " or rtl"
            )
        return TorchBackend(path, name)
    tape = load_tape_or_export(path)
    if name == "rtl":
        from sim.cosim.backend import RtlBackend

        return RtlBackend(tape, lanes)
    return GoldenBackend(tape)

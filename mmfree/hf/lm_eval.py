r"""A model of mmfree for lm-eval-harness, run by any backend: float, fakequant or golden.

Registered as "mmfree" when this module is imported, which ``lm_eval`` by itself does not do::

    python -m mmfree.hf.lm_eval run --model mmfree \
        --model_args path=RUN,backend=golden --tasks arc_easy
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# The harness lists its own models only while none is registered.
import lm_eval.models  # noqa: F401
import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from numpy.typing import NDArray
from tqdm import tqdm

from mmfree.errors import InputError
from mmfree.golden.sampling import temperature_code
from mmfree.inference.backends import Backend, load_backend, run_in_parts
from mmfree.inference.generate import generate_rows
from mmfree.text.scores import negative_log_likelihood
from mmfree.text.tokenizer import text_tokenizer

GENERATED_TOKENS = 256
"""Tokens of an answer, where a task gives no number."""


class Score(NamedTuple):
    """Log-likelihood in nats of the tokens that count, and whether each was the most likely."""

    log_likelihood: float
    greedy: bool


def score_tokens(
    backend: Backend, context: Sequence[Sequence[int]], continuation: Sequence[Sequence[int]]
) -> list[Score]:
    """Score each continuation after its context, all sequences side by side.

    Shorter ones are filled up on the right, where nothing they are scored on can see it.

    Parameters
    ----------
    backend
        What runs the model.
    context
        Token ids from the start of the sequence, at least one each.
    continuation
        Token ids to score.
    """
    if not context:
        return []
    lengths = [
        len(before) + len(after) - 1 for before, after in zip(context, continuation, strict=True)
    ]
    shape = (len(lengths), max(lengths))
    ids, targets = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    counts = np.zeros(shape, dtype=bool)
    for row, (before, after) in enumerate(zip(context, continuation, strict=True)):
        sequence = [*before, *after]
        ids[row, : lengths[row]] = sequence[:-1]
        targets[row, : lengths[row]] = sequence[1:]
        counts[row, len(before) - 1 : lengths[row]] = True
    nats, greedy = np.zeros(shape[0]), np.ones(shape[0], dtype=bool)
    for part, logits, _ in run_in_parts(backend, ids):
        likelihoods = negative_log_likelihood(logits, targets[:, part], backend.fraction_bits)
        nats -= (likelihoods * counts[:, part]).sum(axis=1)
        most_likely: NDArray[np.bool_] = logits.argmax(axis=-1) == targets[:, part]
        greedy &= (most_likely | ~counts[:, part]).all(axis=1)
    return [
        Score(float(value), bool(is_greedy)) for value, is_greedy in zip(nats, greedy, strict=True)
    ]


@register_model("mmfree")
class MatMulFreeEvalLM(TemplateLM):
    """A checkpoint or tape for lm-eval-harness.

    There is no longest context: a text is run from its start, whatever its length.

    Parameters
    ----------
    path
        Checkpoint folder, or tape.
    backend
        One of ``mmfree.inference.backends.BACKENDS``; None: fakequant for a checkpoint, float for a
        published one, golden for a tape.
    batch_size
        Sequences that are run side by side.
    device, max_batch_size
        What the harness passes. They have no effect: backends run on the CPU.
    lanes
        Of the simulated chip, for backend "rtl".

    Raises
    ------
    InputError
        If there is no such model, it predicts no text, or ``batch_size`` is no positive integer.
    """

    def __init__(
        self,
        path: str | Path,
        backend: str | None = None,
        batch_size: int | str = 16,
        device: str | None = None,
        max_batch_size: int | None = None,
        lanes: int = 64,
    ) -> None:
        super().__init__()
        if not str(batch_size).isdecimal() or int(batch_size) < 1:
            raise InputError(f"batch_size must be a positive integer, got {batch_size!r}")
        self.batch_size = int(batch_size)
        self.model = load_backend(Path(path), backend, lanes)
        if not self.model.tokenizer.feeds_back:
            raise InputError(
                f"{path}: a model for {self.model.tokenizer.kind} reads out an answer and predicts"
                " no text"
            )

    @property
    def eot_token_id(self) -> int:
        """The token that starts a sequence, which is also what an empty context becomes."""
        return text_tokenizer(self.model.tokenizer).start

    @property
    def tokenizer_name(self) -> str:
        """Part of the key of the harness's cache of requests."""
        return f"mmfree-{self.model.tokenizer.kind}"

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **options: Any
    ) -> list[int]:
        """Token ids; without the start token if ``add_special_tokens`` is False."""
        ids = self.model.tokenizer.encode(string)
        return ids[1:] if add_special_tokens is False else ids

    def _loglikelihood_tokens(
        self,
        requests: list[tuple[tuple[str, str], list[int], list[int]]],
        disable_tqdm: bool = False,
        **options: Any,
    ) -> list[tuple[float, bool]]:
        results: dict[int, Score] = {}
        with tqdm(total=len(requests), unit="request", disable=disable_tqdm or None) as bar:
            for batch in self._batches([len(before) + len(after) for _, before, after in requests]):
                scores = score_tokens(
                    self.model, [requests[i][1] for i in batch], [requests[i][2] for i in batch]
                )
                for index, score in zip(batch, scores, strict=True):
                    results[index] = score
                    if requests[index][0] is not None:
                        self.cache_hook.add_partial(
                            "loglikelihood", requests[index][0], tuple(score)
                        )
                bar.update(len(batch))
        return [
            (results[index].log_likelihood, results[index].greedy) for index in range(len(requests))
        ]

    def _batches(self, lengths: list[int]) -> Iterator[list[int]]:
        """Indices, those of similar length together, the longest first."""
        order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-likelihood of whole texts in nats, each from the start token on, in one piece."""
        texts = [request.args[0] for request in requests]
        whole = [
            (("", text), [self.prefix_token_id], self.tok_encode(text, add_special_tokens=False))
            for text in texts
        ]
        results = [
            value for value, _ in self._loglikelihood_tokens(whole, disable_tqdm=disable_tqdm)
        ]
        for text, value in zip(texts, results, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), value)
        return results

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Text after each context, up to the first of its stop texts, which is cut off.

        Of the options ``until``, ``max_gen_toks``, ``do_sample`` and ``temperature`` count; without
        ``do_sample`` the most likely token is taken. The seed is 0.

        Raises
        ------
        InputError
            If an option is not a number in its range.
        """
        results = []
        for request in tqdm(requests, unit="request", disable=disable_tqdm or None):
            context, options = request.args
            text = self._generate(context, options)
            self.cache_hook.add_partial("generate_until", request.args, text)
            results.append(text)
        return results

    def _generate(self, context: str, options: dict[str, Any]) -> str:
        until = options.get("until") or []
        stops = [until] if isinstance(until, str) else list(until)
        try:
            tokens = int(options.get("max_gen_toks", GENERATED_TOKENS))
            asked = float(options.get("temperature") or 0.0)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"generation options: max_gen_toks and temperature must be numbers: {error}"
            ) from None
        temperature = asked if options.get("do_sample") else 0.0
        rows: list[int] = []
        chosen = generate_rows(
            self.model,
            self.tok_encode(context),
            tokens,
            temperature=temperature_code(temperature),
            seed=0,
            stop=self.eot_token_id,
        )
        text = ""
        for row in chosen:
            if row == self.eot_token_id:
                break
            text = self.model.tokenizer.decode([*rows, row])
            rows.append(row)
            if any(stop in text for stop in stops):
                break
        return text[: min([text.find(stop) for stop in stops if stop in text], default=len(text))]


def main() -> None:
    """The harness's own command line, with the model "mmfree"."""
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()

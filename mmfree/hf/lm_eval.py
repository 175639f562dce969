r"""A model of mmfree for lm-eval-harness, run by any backend.

Registered as "mmfree" when this module is imported, which ``lm_eval`` by itself does not do::

    python -m mmfree.hf.lm_eval run --model mmfree \
        --model_args path=RUN,backend=golden --tasks arc_easy
"""

from __future__ import annotations

import sys
import traceback
from collections import Counter
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

from mmfree.errors import InputError, ToolMissing
from mmfree.hf.generation_options import GenerationOptions, read_generation_options
from mmfree.inference.backends import Backend, load_backend, most_likely, run_in_parts
from mmfree.inference.generate import ChoosesItself, generate_rows
from mmfree.text.scores import negative_log_likelihood
from mmfree.text.tokenizer import text_tokenizer

UNASKED_DEVICE = "cuda:0"
"""What the harness's command line passes where nobody named a device."""

UNUSABLE = 2
"""Exit code of what cannot be run as it was asked."""


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
        Token ids to score, at least one each.
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
        chosen: NDArray[np.bool_] = most_likely(backend, logits) == targets[:, part]
        greedy &= (chosen | ~counts[:, part]).all(axis=1)
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
        published one, cpu for a tape.
    batch_size
        Sequences that are run side by side.
    device, max_batch_size
        What the harness passes. Backends run on the CPU, in batches of the given size:
        ``UNASKED_DEVICE`` has no effect, others are refused.
    lanes
        Of the simulated chip, for backend "rtl" only; None: 64.
    others
        What else ``--model_args`` names: refused.

    Raises
    ------
    InputError
        If there is no such model, it predicts no text, or an argument is unknown, of another type
        or without effect.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        backend: str | None = None,
        batch_size: int | str = 16,
        device: str | None = None,
        max_batch_size: int | None = None,
        lanes: int | None = None,
        **others: Any,
    ) -> None:
        super().__init__()
        if others:
            raise InputError(
                f"--model_args: there is no {next(iter(others))}; path, backend, batch_size and"
                " lanes can be given"
            )
        if not isinstance(path, str | Path):
            raise InputError(f"--model_args must hold path=FOLDER or path=TAPE, got path {path!r}")
        if isinstance(batch_size, bool) or not (
            str(batch_size).isdecimal() and int(batch_size) >= 1
        ):
            raise InputError(f"batch_size must be a positive integer, got {batch_size!r}")
        if max_batch_size is not None:
            raise InputError("max_batch_size belongs to batch_size auto; give batch_size alone")
        if device not in (None, "cpu", UNASKED_DEVICE):
            raise InputError(f"device must be cpu, where every backend runs, got {device!r}")
        if lanes is not None and type(lanes) is not int:
            raise InputError(f"lanes must be an integer, got {lanes!r}")
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

    def apply_chat_template(self, chat_history: Any, add_generation_prompt: bool = True) -> str:
        """Always InputError: no model of mmfree has a chat template."""
        raise InputError("--apply_chat_template: the model has no chat template; leave it out")

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Log-likelihood in nats of each answer after its context; whether it is the greedy one.

        Raises
        ------
        InputError
            If an answer is empty, or has no token to be scored.
        """
        pairs = [(context, answer) for context, answer in (request.args for request in requests)]
        encoded = [(pair, *self._encode_pair(*pair)) for pair in pairs]
        return self._loglikelihood_tokens(encoded, disable_tqdm=disable_tqdm)

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Ids of both together, parted after those that they share with the context alone.

        At least one is left to score: where an answer only lengthens the context's last token, that
        one. White space at the end of a context belongs to the answer, as everywhere in the
        harness.
        """
        if not continuation:
            raise InputError(f"an answer to {context[-40:]!r} is empty: it has no token to score")
        question = context.rstrip()
        before, both = self.tok_encode(question), self.tok_encode(context + continuation)
        shared = 0
        while shared < min(len(before), len(both) - 1) and before[shared] == both[shared]:
            shared += 1
        if not shared:
            raise InputError(f"the answer {continuation[:40]!r} has no token to score")
        return both[:shared], both[shared:]

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
        """Log-likelihood of whole texts in nats, each from the start token on, in one piece.

        That of an empty text is 0.

        Raises
        ------
        InputError
            If another text has no tokens.
        """
        texts = [request.args[0] for request in requests]
        whole = [
            (("", text), [self.prefix_token_id], self.tok_encode(text, add_special_tokens=False))
            for text in texts
        ]
        for (_, text), _, ids in whole:
            if text and not ids:
                raise InputError(f"the text {text[:40]!r} has no token to score")
        results = [
            value for value, _ in self._loglikelihood_tokens(whole, disable_tqdm=disable_tqdm)
        ]
        for text, value in zip(texts, results, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), value)
        return results

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Text after each context, up to the first of its stop texts, which is cut off.

        An answer also ends at the start token and at a token that ends a text, which are no part of
        it. Of the same request, repeated, each answer is drawn from another seed: 0, 1, 2 and so
        on.

        Raises
        ------
        InputError
            If an option has no effect or is out of range (``read_generation_options``).
        """
        results = []
        asked = [(request.args, read_generation_options(request.args[1])) for request in requests]
        if isinstance(self.model, ChoosesItself) and any(o.top_k or o.top_p for _, o in asked):
            raise InputError(
                "generation options: top_k and top_p: the chip chooses among all tokens; leave them"
                " out, or take backend=golden"
            )
        times: Counter[tuple[str, str]] = Counter()
        for arguments, options in tqdm(asked, unit="request", disable=disable_tqdm or None):
            key = (arguments[0], repr(arguments[1]))
            text = self._generate(arguments[0], options, seed=times[key])
            times[key] += 1
            if not options.temperature:
                self.cache_hook.add_partial("generate_until", arguments, text)
            results.append(text)
        return results

    def _generate(self, context: str, options: GenerationOptions, *, seed: int) -> str:
        rows: list[int] = []
        chosen = generate_rows(
            self.model,
            self.tok_encode(context),
            options.tokens,
            temperature=options.temperature,
            seed=seed,
            stop=self.eot_token_id,
            top_k=options.top_k,
            top_p=options.top_p,
        )
        text = ""
        for row in chosen:
            if row == self.eot_token_id or row in self.model.end_ids:
                break
            rows.append(row)
            text = self.model.tokenizer.decode(rows)
            if any(stop in text for stop in options.stops):
                break
        places = [text.find(stop) for stop in options.stops if stop in text]
        return text[: min(places, default=len(text))]


def main() -> int:
    """The harness's own command line, with the model "mmfree"; returns the exit code.

    What is wrong with the model, its arguments or the task is one line, and exit code 2.
    """
    from lm_eval.__main__ import cli_evaluate

    try:
        cli_evaluate()
    except (InputError, ToolMissing, OSError) as error:
        return _fail(str(error))
    except ValueError as error:
        # Of the harness's own: an option or a task that it does not know. Ours would be a bug.
        package, passed = Path(__file__).parents[1], traceback.extract_tb(error.__traceback__)[1:]
        if any(Path(frame.filename).is_relative_to(package) for frame in passed):
            raise
        return _fail(str(error))
    return 0


def _fail(message: str) -> int:
    print(f"mmfree: error: {' '.join(message.split())}", file=sys.stderr)
    return UNUSABLE


if __name__ == "__main__":
    sys.exit(main())

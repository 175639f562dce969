"""lm-eval-harness: log-likelihoods are those of mmfree's own evaluation.

That holds for the golden model and for the fake-quantized one.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmfree.errors import InputError

pytest.importorskip("transformers", reason="extra hf is not installed")
with warnings.catch_warnings():
    # The harness and what it imports are not ours.
    warnings.simplefilter("ignore")
    pytest.importorskip("lm_eval", reason="extra hf is not installed")
    from lm_eval.api.instance import Instance

    from mmfree.hf.lm_eval import MatMulFreeEvalLM, main, score_tokens

import torch
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models

import mmfree.hf.lm_eval
from mmfree.contract.shape import ModelConfig
from mmfree.inference.backends import Backend, TorchBackend, load_backend, load_tape_or_export
from mmfree.inference.generate import generate, generate_rows
from mmfree.inference.scoring import evaluate_text
from mmfree.models.matmul_free import MatMulFreeLM
from mmfree.tape.pow2 import write_tape
from mmfree.text.subword import JsonTokenizer
from mmfree.text.tokenizer import text_tokenizer
from tests.support.below import Below
from tests.support.published_checkpoints import write_text_checkpoint

PAIRS = [
    ("The quick", " brown fox"),
    ("", "no context"),
    ("a", "b"),
    ("ends in a space ", "x"),
    ("é" * 140, "ü"),
]


def requests(kind: str, arguments: list[tuple[Any, ...]]) -> list[Instance]:
    return [
        Instance(request_type=kind, doc={}, arguments=one, idx=i) for i, one in enumerate(arguments)
    ]


def log_likelihood(backend: Backend, text: str, scored: int) -> tuple[float, bool]:
    """Of the last ``scored`` bytes, from the start token."""
    return log_likelihood_of_ids(backend, [0, *text.encode()], scored)


def log_likelihood_of_ids(backend: Backend, ids: list[int], scored: int) -> tuple[float, bool]:
    """Of the last ``scored`` ids, one position at a time."""
    state, total, greedy = backend.state(1), 0.0, True
    for position, (now, then) in enumerate(pairwise(ids)):
        logits, state = backend.run(np.array([[now]]), state)
        if position >= len(ids) - 1 - scored:
            wide = logits[0, 0].astype(np.float64) * 2.0**-backend.fraction_bits
            total += wide[then] - wide.max() - math.log(np.exp(wide - wide.max()).sum())
            greedy &= bool(wide.argmax() == then)
    return total, greedy


def subword_backend() -> TorchBackend:
    """A random model with a byte-pair encoding, of letters and the parts of two words."""
    pieces = ["<s>", *"abcdefghijklmnopqrstuvwxyz ", "ga", "mm", "gam", "gamm", "gamma"]
    pieces += ["de", "del", "delt", "delta"]
    merges = [("g", "a"), ("ga", "m"), ("gam", "m"), ("gamm", "a")]
    merges += [("m", "m"), ("d", "e"), ("de", "l"), ("del", "t"), ("delt", "a")]
    raw = RustTokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, merges))
    raw.add_special_tokens(["<s>"])
    raw.decoder = decoders.Fuse()
    tokenizer = JsonTokenizer(raw.to_str())
    size = tokenizer.vocab_size
    torch.manual_seed(5)
    model = MatMulFreeLM(
        ModelConfig(
            vocab_size=size, head_size=size, hidden_size=16, intermediate_size=24, num_layers=1
        )
    )
    return TorchBackend("fakequant", model, tokenizer, 9)


def judge_of(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> MatMulFreeEvalLM:
    monkeypatch.setattr("mmfree.hf.lm_eval.load_backend", lambda *_: backend)
    return MatMulFreeEvalLM("anywhere", batch_size=2)


def test_an_answer_that_shares_a_token_with_its_context_is_scored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = subword_backend()
    judge = judge_of(backend, monkeypatch)
    encode = backend.tokenizer.encode
    assert len(encode("gam")) == len(encode("gamma")) == 2, "else nothing is tried here"
    wanted = {
        ("gam", "ma"): 1,  # one token, which both share
        ("gam", "mx"): 2,  # g a m and m become another token: "gamm"
        ("gamma del", "ta"): 1,
        ("gamma del", "ay"): 2,
        ("", "gamma"): 1,
        ("gamma ", "delta"): 2,  # the blank is the answer's
        ("a", "b"): 1,
    }
    found = judge.loglikelihood(requests("loglikelihood", list(wanted)), disable_tqdm=True)
    for ((context, answer), scored), (value, greedy) in zip(wanted.items(), found, strict=True):
        nats, is_greedy = log_likelihood_of_ids(backend, encode(context + answer), scored)
        assert value == pytest.approx(nats, rel=1e-12), (context, answer)
        assert greedy == is_greedy
        assert value < 0


@pytest.mark.parametrize(("context", "answer"), [("abc", ""), ("", "")])
def test_an_answer_without_a_token_is_an_error(context: str, answer: str, run: Path) -> None:
    with pytest.raises(InputError, match=f"an answer to '{context}' is empty"):
        MatMulFreeEvalLM(run).loglikelihood(
            requests("loglikelihood", [("a", "b"), (context, answer)]), disable_tqdm=True
        )


def test_a_text_that_a_tokenizer_makes_nothing_of_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = subword_backend()
    # As a tokenizer that strips white space.
    monkeypatch.setattr(
        backend.tokenizer, "encode", lambda text: [0, *(3 for _ in text.strip())], raising=True
    )
    judge = judge_of(backend, monkeypatch)
    assert judge.loglikelihood_rolling(requests("loglikelihood_rolling", [("",)])) == [0.0]
    with pytest.raises(InputError, match=r"the text ' \\n' has no token to score"):
        judge.loglikelihood_rolling(requests("loglikelihood_rolling", [("a",), (" \n",)]))
    # After a context its last token stands for the answer: none may cost nothing.
    ((value, _),) = judge.loglikelihood(requests("loglikelihood", [("ab", "  ")]))
    assert value == pytest.approx(log_likelihood_of_ids(backend, [0, 3, 3], 1)[0], rel=1e-12)
    with pytest.raises(InputError, match="the answer '  ' has no token to score"):
        judge.loglikelihood(requests("loglikelihood", [("", "  ")]))


def test_an_answer_ends_before_a_token_that_ends_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = subword_backend()
    judge = judge_of(backend, monkeypatch)

    rows = list(
        generate_rows(
            backend, backend.tokenizer.encode("a"), 12, temperature=256 - 1, seed=0, stop=None
        )
    )
    assert text_tokenizer(backend.tokenizer).start not in rows, "else it would end there"
    options = {"max_gen_toks": 12, "temperature": 3.98}
    for end_ids in ((), (rows[6],), (rows[9], rows[4]), (rows[0],)):
        backend.end_ids = end_ids
        first = next((place for place, row in enumerate(rows) if row in end_ids), len(rows))
        (found,) = judge.generate_until(
            requests("generate_until", [("a", options)]), disable_tqdm=True
        )
        assert found == backend.tokenizer.decode(rows[:first])


def test_repeated_samples_differ_and_are_the_same_again(run: Path) -> None:
    """Of several answers to one question a share is counted: they must not be one answer."""
    judge = MatMulFreeEvalLM(run, "golden")
    options = {"until": [], "max_gen_toks": 12, "do_sample": True, "temperature": 1.5}
    asked = requests("generate_until", [("The ", options)]) * 3
    found = judge.generate_until(asked, disable_tqdm=True)
    assert len(set(found)) == 3
    assert judge.generate_until(asked, disable_tqdm=True) == found
    assert judge.generate_until(asked[:1], disable_tqdm=True) == found[:1]


@pytest.mark.parametrize("name", ["golden", "fakequant", "float"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_log_likelihoods(name: str, batch_size: int, run: Path) -> None:
    model = MatMulFreeEvalLM(path=run, backend=name, batch_size=batch_size)
    found = model.loglikelihood(requests("loglikelihood", PAIRS), disable_tqdm=True)
    for (wanted, wanted_greedy), (value, greedy) in zip(reference(run, name), found, strict=True):
        assert value == pytest.approx(wanted, rel=1e-5 if name == "float" else 1e-12, abs=1e-9)
        assert greedy == wanted_greedy


@cache
def reference(run: Path, name: str) -> list[tuple[float, bool]]:
    """Of PAIRS, a position at a time."""
    backend = load_backend(run, name)
    # The harness moves spaces at the end of a context into the continuation.
    return [
        log_likelihood(
            backend,
            context + continuation,
            len(continuation.encode()) + len(context) - len(context.rstrip()),
        )
        for context, continuation in PAIRS
    ]


def test_golden_fakequant_and_cpu_are_equal(run: Path, tmp_path: Path) -> None:
    tape = tmp_path / "model.tape"
    write_tape(load_tape_or_export(run), tape)
    models = [
        MatMulFreeEvalLM(run, "golden"),
        MatMulFreeEvalLM(run, "fakequant"),
        MatMulFreeEvalLM(tape),
    ]
    found = [
        model.loglikelihood(requests("loglikelihood", PAIRS), disable_tqdm=True) for model in models
    ]
    assert found[0] == found[1] == found[2]
    assert [model.model.name for model in models] == ["golden", "fakequant", "cpu"]


def test_rolling_log_likelihood_is_that_of_evaluate(run: Path) -> None:
    # Shorter than what evaluate_text would cut into several pieces; longer than one chunk.
    texts = ["a small text. " * 30, "b", ""]
    backend = load_backend(run, "golden")
    model = MatMulFreeEvalLM(run, "golden", batch_size=2)
    found = model.loglikelihood_rolling(
        requests("loglikelihood_rolling", [(text,) for text in texts]), disable_tqdm=True
    )
    for text, value in zip(texts, found, strict=True):
        if text:
            bits = evaluate_text(backend, text.encode()).bits_per_byte * len(text)
            assert -value / math.log(2) == pytest.approx(bits, rel=1e-12)
        else:
            assert value == 0.0


@pytest.mark.parametrize("name", ["float", "golden"])
def test_a_published_folder_is_scored(name: str, tmp_path: Path) -> None:
    folder, text = write_text_checkpoint(tmp_path / "published"), "the old cat sees a red bird."
    (value,) = MatMulFreeEvalLM(folder, name).loglikelihood_rolling(
        requests("loglikelihood_rolling", [(text,)]), disable_tqdm=True
    )
    bits = evaluate_text(load_backend(folder, name), text.encode()).bits_per_byte * len(text)
    assert -value / math.log(2) == pytest.approx(bits, rel=1e-2 if name == "float" else 1e-12)


def test_a_greedy_continuation_is_recognized(run: Path) -> None:
    backend = load_backend(run, "golden")
    rows = [row for _, chosen in generate(backend, "The ", 5, temperature=0) for row in chosen]
    context = [[0, *b"The "]]
    assert score_tokens(backend, context, [rows])[0].greedy
    for changed in range(5):
        other = [row ^ 1 if index == changed else row for index, row in enumerate(rows)]
        assert not score_tokens(backend, context, [other])[0].greedy
    assert score_tokens(backend, [], []) == []


def test_generation_stops_where_it_is_told(run: Path) -> None:
    model = MatMulFreeEvalLM(run, "golden")
    golden = load_backend(run, "golden")
    whole = "".join(text for text, _ in generate(golden, "The ", 40, temperature=0))

    def written(**options: Any) -> str:
        (text,) = model.generate_until(
            requests("generate_until", [("The ", options)]), disable_tqdm=True
        )
        return text

    # The text may end within a character of several bytes.
    assert written(until=[], max_gen_toks=40).rstrip("\ufffd") == whole.rstrip("\ufffd")
    stop = whole[7]
    assert written(until=stop, max_gen_toks=40) == whole[: whole.index(stop)]
    assert written(until=["never seen", stop], max_gen_toks=40) == whole[: whole.index(stop)]
    drawn = written(until=[], max_gen_toks=40, do_sample=True, temperature=1.5)
    assert drawn != whole
    assert drawn == written(until=[], max_gen_toks=40, do_sample=True, temperature=1.5), (
        "from one seed"
    )
    assert written(until=[], max_gen_toks=40, do_sample=False, temperature=1.5) == written(
        until=[], max_gen_toks=40
    )
    few = written(until=[], max_gen_toks=40, temperature=1.5, top_k=3)
    share = written(until=[], max_gen_toks=40, temperature=1.5, top_p=0.2)
    assert len({whole, drawn, few, share}) == 4
    assert written(until=[], max_gen_toks=40, temperature=1.5, top_k=1).rstrip(
        "\ufffd"
    ) == whole.rstrip("\ufffd")


@pytest.mark.parametrize("limit", [{"top_k": 3}, {"top_p": 0.5}])
def test_a_chip_is_not_asked_to_leave_tokens_out(
    limit: dict[str, float], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MatMulFreeEvalLM(run, "golden")
    monkeypatch.setattr(
        type(model.model), "generate", lambda *_, **__: [65], raising=False
    )  # as hardware does, which chooses itself
    asked = requests("generate_until", [("a", {"temperature": 1.0, **limit})])
    with pytest.raises(InputError, match="top_k and top_p: the chip chooses among all tokens"):
        model.generate_until(asked, disable_tqdm=True)


class Cache:
    """Stands in for the harness's cache of answers."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, Any, Any]] = []

    def add_partial(self, kind: str, arguments: Any, answer: Any) -> None:
        self.kept.append((kind, arguments, answer))


def test_answers_are_kept_under_what_was_asked(run: Path) -> None:
    """But not those that are drawn: the next draw is another."""
    model = MatMulFreeEvalLM(run, "golden", batch_size=2)
    model.cache_hook = cache = Cache()
    found = model.loglikelihood(requests("loglikelihood", PAIRS[:3]), disable_tqdm=True)
    assert {(kind, asked): answer for kind, asked, answer in cache.kept} == {
        ("loglikelihood", pair): answer for pair, answer in zip(PAIRS, found, strict=False)
    }
    cache.kept.clear()
    (value,) = model.loglikelihood_rolling(requests("loglikelihood_rolling", [("ab",)]))
    assert ("loglikelihood_rolling", ("ab",), value) in cache.kept
    cache.kept.clear()
    greedy, drawn = {"max_gen_toks": 2}, {"max_gen_toks": 2, "temperature": 1.0}
    (text, _) = model.generate_until(
        requests("generate_until", [("a", greedy), ("a", drawn)]), disable_tqdm=True
    )
    assert cache.kept == [("generate_until", ("a", greedy), text)]


def test_sequences_of_like_length_run_together_the_longest_first(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    score = mmfree.hf.lm_eval.score_tokens

    def watched(backend: Backend, context: Any, continuation: Any) -> Any:
        lengths = [len(a) + len(b) for a, b in zip(context, continuation, strict=True)]
        batches.append(lengths)
        return score(backend, context, continuation)

    monkeypatch.setattr(mmfree.hf.lm_eval, "score_tokens", watched)
    texts = ["a" * length for length in (3, 9, 1, 7, 5)]
    MatMulFreeEvalLM(run, "golden", batch_size=2).loglikelihood_rolling(
        requests("loglikelihood_rolling", [(text,) for text in texts]), disable_tqdm=True
    )
    assert batches == [[10, 8], [6, 4], [2]]


def test_ids_begin_with_the_start_token_unless_told_otherwise(run: Path) -> None:
    model = MatMulFreeEvalLM(run)
    assert model.tok_encode("ab") == model.tok_encode("ab", add_special_tokens=True) == [0, 97, 98]
    assert model.tok_encode("ab", add_special_tokens=False) == [97, 98]
    assert model.eot_token_id == model.prefix_token_id == 0
    assert model.tokenizer_name == "mmfree-bytes"
    assert model.batch_size == 16


def test_every_argument_reaches_the_backend(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = Below(monkeypatch)
    below.replace({"mmfree.hf.lm_eval:load_backend": load_backend(run)})
    MatMulFreeEvalLM(str(run), "rtl", lanes=16)
    assert below.asked == {
        "load_backend(path)": run,
        "load_backend(name)": "rtl",
        "load_backend(lanes)": 16,
    }


def test_bad_arguments_are_refused(run: Path, addition_run: Path) -> None:
    for arguments, message in [
        ({"path": addition_run}, "a model for addition reads out an answer and predicts no text"),
        ({"path": run, "batch_size": "auto"}, "batch_size must be a positive integer, got 'auto'"),
        ({"path": run, "batch_size": 0}, "batch_size must be a positive integer, got 0"),
        ({"path": run, "batch_size": True}, "batch_size must be a positive integer, got True"),
        ({"path": run, "backend": "gpu"}, "--backend must be one of"),
        ({"path": run / "none"}, "none"),
        ({}, "--model_args must hold path=FOLDER or path=TAPE, got path None"),
        ({"path": 7}, "got path 7"),
        ({"pretrained": run}, "--model_args: there is no pretrained; path, backend, batch_size"),
        ({"path": run, "dtype": "float32"}, "there is no dtype"),
        ({"path": run, "device": "cuda"}, "device must be cpu, .* got 'cuda'"),
        ({"path": run, "device": "mps"}, "device must be cpu, .* got 'mps'"),
        ({"path": run, "max_batch_size": 8}, "max_batch_size belongs to batch_size auto"),
        ({"path": run, "lanes": "many"}, "lanes must be an integer, got 'many'"),
    ]:
        with pytest.raises((InputError, OSError), match=message):
            MatMulFreeEvalLM(**arguments)
    # What the harness passes by itself.
    assert MatMulFreeEvalLM(run, device="cuda:0", batch_size="3").batch_size == 3
    with pytest.raises(InputError, match="the model has no chat template"):
        MatMulFreeEvalLM(run).apply_chat_template([])


def test_a_bad_option_of_any_request_is_refused_before_the_first_answer(run: Path) -> None:
    asked = requests("generate_until", [("a", {"max_gen_toks": 1}), ("b", {"max_gen_toks": "x"})])
    done: list[Any] = []
    judge = MatMulFreeEvalLM(run)
    judge._generate = lambda *_, **__: done.append(1)  # type: ignore[method-assign,assign]
    with pytest.raises(InputError, match="max_gen_toks must be a number, got 'x'"):
        judge.generate_until(asked, disable_tqdm=True)
    assert not done


def raised_by_the_harness(message: str) -> Callable[[], None]:
    """A call that raises ValueError in code that is not ours."""
    names: dict[str, Any] = {}
    exec(f"def fail():\n raise ValueError({message!r})", names)
    return names["fail"]  # type: ignore[no-any-return]


def test_errors_of_the_command_line_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], run: Path
) -> None:
    for call, message in [
        (lambda: MatMulFreeEvalLM(pretrained="x"), "--model_args: there is no pretrained"),
        (lambda: MatMulFreeEvalLM(run / "none"), "none: no such file"),
        (raised_by_the_harness("Tasks not found:\nx"), "Tasks not found: x"),
    ]:
        monkeypatch.setattr("lm_eval.__main__.cli_evaluate", call)
        assert main() == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("mmfree: error: ")
        assert message in line
    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", lambda: None)
    assert main() == 0


def test_a_bug_of_ours_shows_its_traceback(monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    judge = MatMulFreeEvalLM(run)
    monkeypatch.setattr(judge, "tok_encode", lambda *_: raised_by_the_harness("a bug")())
    monkeypatch.setattr(
        "lm_eval.__main__.cli_evaluate",
        lambda: judge.loglikelihood(requests("loglikelihood", [("a", "b")])),
    )
    with pytest.raises(ValueError, match="a bug"):
        main()


QUESTIONS_AND_ANSWERS = [
    ("Two and two is", ["four", "a"], 0),
    ("The sky is", ["b", "blue", "red as a rose"], 1),
    ("Ice is", ["hot", "cold"], 1),
]
QUESTIONS = [
    {"question": question, "choices": choices, "answer": answer}
    for question, choices, answer in QUESTIONS_AND_ANSWERS
]
TASK = """\
task: three_questions
dataset_path: json
dataset_kwargs:
  data_files: {data}
test_split: train
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a task of three questions."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    data, folder = tmp_path / "questions.json", tmp_path / "tasks"
    data.write_text(json.dumps(QUESTIONS))
    folder.mkdir()
    (folder / "three.yaml").write_text(TASK.format(data=data))
    return folder


def accuracy(run: Path) -> float:
    """By the log-likelihood of each answer, reckoned by hand."""
    backend = load_backend(run, "golden")
    right = 0
    for question, choices, answer in QUESTIONS_AND_ANSWERS:
        values = [
            log_likelihood(backend, f"{question} {choice}", len(choice) + 1)[0]
            for choice in choices
        ]
        right += int(np.argmax(values)) == answer
    return right / len(QUESTIONS)


# What the harness and the libraries that it loads warn of is not ours.
@pytest.mark.filterwarnings("ignore::Warning")
def test_the_harness_scores_a_task(run: Path, tasks: Path) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    for backend in ("golden", "fakequant"):
        arguments = {"path": str(run), "backend": backend}
        found = simple_evaluate(
            model="mmfree",
            model_args=arguments,
            tasks=["three_questions"],
            task_manager=manager,
            bootstrap_iters=0,
        )
        assert found["results"]["three_questions"]["acc,none"] == pytest.approx(accuracy(run))


@pytest.mark.slow  # the harness reads the descriptions of all its tasks: 15 seconds
@pytest.mark.filterwarnings("ignore::Warning")
def test_the_command_line_of_the_harness(
    run: Path,
    tasks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [
        "run",
        "--model",
        "mmfree",
        "--model_args",
        f"path={run},backend=golden",
        "--include_path",
        tasks,
    ]
    arguments += [
        "--tasks",
        "three_questions",
        "--output_path",
        tmp_path / "out",
        "--batch_size",
        "2",
    ]
    monkeypatch.setattr(sys, "argv", ["lm_eval", *map(str, arguments)])
    assert main() == 0
    (path,) = (tmp_path / "out").rglob("results_*.json")
    found = json.loads(path.read_text())["results"]["three_questions"]["acc,none"]
    assert found == pytest.approx(accuracy(run))
    assert "three_questions" in capsys.readouterr().out

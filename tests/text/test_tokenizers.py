"""Tokenizers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfree.contract.tokenizers import describe_tokenizer
from mmfree.errors import InputError
from mmfree.text.task_tokenizers import AdditionTokenizer, ModularTokenizer, ParityTokenizer
from mmfree.text.tokenizer import (
    ByteTokenizer,
    Tokenizer,
    document_ends,
    reads_text,
    text_tokenizer,
)
from mmfree.text.tokenizers import tokenizer_from_dict


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40))
def test_bytes_survive(text: str) -> None:
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(text)
    assert ids[0] == 0
    assert tokenizer.decode(ids[1:]) == text


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert ByteTokenizer().decode([0x61, 0xFF, 0x62]) == "a\ufffdb"


def test_a_sum_is_streamed_least_significant_digit_first() -> None:
    """BOS a0 b0 a1 b1 ... and a last column (0, 0) for the carry."""
    assert AdditionTokenizer().encode("123+45") == [30, 3, 15, 2, 14, 1, 10, 0, 10]


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_the_sum_is_read_at_the_positions_of_b(a: int, b: int) -> None:
    tokenizer = AdditionTokenizer()
    ids = tokenizer.encode(f"{a}+{b}")
    digits = str(a + b)[::-1].ljust((len(ids) - 1) // 2, "0")
    rows = [7] * len(ids)  # the other rows do not matter
    rows[2::2] = [int(digit) for digit in digits]
    assert tokenizer.decode(rows) == str(a + b)


@pytest.mark.parametrize(
    "prompt", ["", "12", "1+", "+1", "1+2+3", "-1+2", "a+b", "1 2", "1 + 2 3", "1\n+2", "١+٢"]
)
def test_other_prompts_are_refused(prompt: str) -> None:
    with pytest.raises(InputError, match=r"two decimal numbers such as 123\+456, got "):
        AdditionTokenizer().encode(prompt)


def test_a_tokenizer_is_restored_from_its_data() -> None:
    for tokenizer in (ByteTokenizer(), AdditionTokenizer(), ParityTokenizer(), ModularTokenizer()):
        assert type(tokenizer_from_dict(tokenizer.to_dict())) is type(tokenizer)


def test_parity_and_modular_prompts() -> None:
    assert ParityTokenizer().encode("0110") == [2, 0, 1, 1, 0]
    assert ParityTokenizer().decode([0, 1, 0, 1]) == "1"
    assert ModularTokenizer().encode("12+96") == [12, 193, 194]
    assert ModularTokenizer().decode([3, 4, 11]) == "11"
    with pytest.raises(InputError, match="a string of bits such as 0110, got '012'"):
        ParityTokenizer().encode("012")
    assert ModularTokenizer().encode(f"{'0' * 5000}12+096") == [12, 193, 194]
    for prompt in ("97+1", "1", "1-1", "", f"1+{'1' * 5000}"):
        with pytest.raises(InputError, match=r"two numbers below 97 such as 12\+96, got"):
            ModularTokenizer().encode(prompt)


@pytest.mark.parametrize("data", [{}, {"kind": "bpe"}, None, [], "bytes"])
def test_unknown_tokenizers_are_refused(data: object) -> None:
    with pytest.raises(
        InputError,
        match=(
            "kind must be one of addition, bytes, modular-addition, parity, sentencepiece,"
            " tokenizers, got"
        ),
    ):
        tokenizer_from_dict(data)


def test_what_is_long_is_described_by_its_length() -> None:
    assert describe_tokenizer({"kind": "bytes"}) == {"kind": "bytes"}
    assert describe_tokenizer({"kind": "x", "data": "A" * 1234}) == {
        "kind": "x",
        "data": "1,234 characters",
    }


def test_bytes_that_are_no_text_are_refused() -> None:
    """As they come from a command line that is not UTF-8."""
    for encode in (ByteTokenizer().encode, lambda text: ByteTokenizer().encode_texts([text])):
        with pytest.raises(InputError, match=r"not Unicode: '\\udce9' at character 3 is half of a"):
            encode("caf\udce9")


def test_byte_0_is_no_text() -> None:
    """It starts a sequence: within a text it would not be scored, and its byte counted."""
    for encode in (ByteTokenizer().encode, lambda text: ByteTokenizer().encode_texts(["", text])):
        with pytest.raises(InputError, match="holds a NUL character at 2, which no text does"):
            encode("ab\0c")
        with pytest.raises(InputError, match="holds a NUL character at 0, which no text does"):
            encode("\0")


def test_a_task_reads_no_text() -> None:
    assert reads_text(ByteTokenizer())
    assert text_tokenizer(ByteTokenizer()).start == 0
    with pytest.raises(InputError, match="a model for parity, not for text"):
        text_tokenizer(ParityTokenizer())


def test_blanks_in_a_prompt_and_long_ones_in_an_error() -> None:
    for prompt in (" 12+345\n", "12 + 345", "12 +345", "12+  345"):
        assert AdditionTokenizer().encode(prompt) == AdditionTokenizer().encode("12+345")
    assert ModularTokenizer().encode("12 + 096") == [12, 193, 194]
    assert ParityTokenizer().encode(" 01\n") == [2, 0, 1]
    assert ModularTokenizer().encode(" 1+2\n") == [1, 99, 194]
    for tokenizer in (AdditionTokenizer(), ParityTokenizer(), ModularTokenizer()):
        with pytest.raises(InputError, match=rf"got '{'x' * 40}'$"):
            tokenizer.encode("x" * 41)


@pytest.mark.parametrize(
    ("tokenizer", "sizes", "feeds_back", "data"),
    [
        (ByteTokenizer(), (256, 256), True, {"kind": "bytes"}),
        (AdditionTokenizer(), (31, 10), False, {"kind": "addition"}),
        (ParityTokenizer(), (3, 2), False, {"kind": "parity"}),
        (ModularTokenizer(), (195, 97), False, {"kind": "modular-addition"}),
    ],
)
def test_every_tokenizer_says_what_it_is(
    tokenizer: Tokenizer, sizes: tuple[int, int], feeds_back: bool, data: dict[str, str]
) -> None:
    assert (tokenizer.vocab_size, tokenizer.head_size) == sizes
    assert tokenizer.feeds_back == feeds_back
    assert tokenizer.to_dict() == data
    assert document_ends(tokenizer) == ((0,) if feeds_back else ())


def test_leading_zeros_of_a_sum_are_left_out() -> None:
    assert AdditionTokenizer().decode([0, 0, 0, 0, 0]) == "0", "a sum of zeros"
    assert AdditionTokenizer().decode([9, 9, 1, 9, 0, 9, 2]) == "201"

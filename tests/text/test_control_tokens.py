"""No text becomes a control token: with every kind of model, normalizer and added token."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from mmfree.errors import InputError
from mmfree.text.scores import ScoredText
from mmfree.text.subword import JsonTokenizer, load_pair
from tests.support.subwords import TEXT, bpe

WORDS = ["<unk>", "<s>", "</s>", "old", "new", "text", "<tool>"]
LETTERS = sorted(set("".join(WORDS)))
SPELLED = [
    "<s>",
    "</s>",
    "old</s>new",
    "<s>old text 0</s> new text",
    "＜／s＞ ＜s＞",
    "<S> </S>",
    " <s> </s>\n<s>\n",
    "</s></s> <unk> <tool>",
    "\u2581<s>",
]
"""Texts that spell control tokens, some only after a normalizer."""


def finished(tokenizer: Tokenizer, special: list[str] | None = None) -> JsonTokenizer:
    tokenizer.pre_tokenizer = tokenizer.pre_tokenizer or pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"] if special is None else special)
    return JsonTokenizer(tokenizer.to_str())


def numbered(names: list[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


def word_level(normalizer: normalizers.Normalizer | None = None) -> JsonTokenizer:
    tokenizer = Tokenizer(models.WordLevel(numbered(WORDS), unk_token="<unk>"))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    return finished(tokenizer)


def undeclared_start() -> JsonTokenizer:
    return finished(Tokenizer(models.WordLevel(numbered(WORDS), unk_token="<unk>")), [])


def plain_added_start() -> JsonTokenizer:
    """Its start token is an added one that is not called special, so the library looks for it."""
    tokenizer = Tokenizer(models.WordLevel(numbered(["<unk>", "old", "new"]), unk_token="<unk>"))
    tokenizer.add_tokens([AddedToken("<s>", normalized=True)])
    return finished(tokenizer, ["</s>"])


def unigram(byte_fallback: bool = False) -> JsonTokenizer:
    names = [*WORDS, *LETTERS, *([f"<0x{n:02X}>" for n in range(256)] if byte_fallback else [])]
    vocabulary = [(name, 0.0 if name in WORDS else -5.0) for name in dict.fromkeys(names)]
    return finished(Tokenizer(models.Unigram(vocabulary, 0, byte_fallback)))


def word_piece() -> JsonTokenizer:
    names = [*WORDS, *LETTERS, *(f"##{name}" for name in (*LETTERS, "</s>", "new"))]
    model = models.WordPiece(numbered(list(dict.fromkeys(names))), unk_token="<unk>")
    return finished(Tokenizer(model), ["<unk>", "<s>", "</s>", "##</s>"])


def whole_words() -> JsonTokenizer:
    """A byte-pair encoding that takes a whole word from its vocabulary first."""
    names = [*WORDS, *(name for name in LETTERS if name not in WORDS)]
    model = models.BPE(numbered(names), [], unk_token="<unk>", ignore_merges=True)
    return finished(Tokenizer(model))


def merged(unk_token: str | None = "<unk>") -> JsonTokenizer:
    """A byte-pair encoding whose merges make control tokens, and go on with them."""
    names = ["<unk>", *LETTERS, "<s", "<s>", "</", "</s", "</s>", "<s>o", "＜", "／", "＞", "S"]
    names += [" ", "\n", "\u2581", "0"]
    merges = [("<", "s"), ("<s", ">"), ("<", "/"), ("</", "s"), ("</s", ">"), ("<s>", "o")]
    tokenizer = Tokenizer(models.BPE(numbered(names), merges, unk_token=unk_token))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "merged_with_previous")
    return finished(tokenizer)


def behind() -> JsonTokenizer:
    """Control tokens that only the post-processor names."""
    tokenizer = Tokenizer(models.WordLevel(numbered(WORDS), unk_token="<unk>"))
    tokenizer.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 1))
    return finished(tokenizer, [])


KINDS: dict[str, Callable[[], JsonTokenizer]] = {
    "word_level": word_level,
    "nfkc": lambda: word_level(normalizers.NFKC()),
    "lowercase": lambda: word_level(normalizers.Lowercase()),
    "replaced": lambda: word_level(normalizers.Replace("old", "<s>")),
    "undeclared_start": undeclared_start,
    "plain_added_start": plain_added_start,
    "unigram": unigram,
    "unigram_with_bytes": lambda: unigram(byte_fallback=True),
    "word_piece": word_piece,
    "whole_words": whole_words,
    "merged": merged,
    "merged_without_unknown": lambda: merged(None),
    "behind": behind,
}


@cache
def made(kind: str) -> JsonTokenizer:
    return KINDS[kind]()


EVERY = pytest.mark.parametrize("kind", KINDS)


def control_ids(tokenizer: JsonTokenizer) -> set[int]:
    """Of what the file calls special, of the start and end token, without what is unknown."""
    library = Tokenizer.from_str(tokenizer.json)
    special = {n for n, token in library.get_added_tokens_decoder().items() if token.special}
    return ({tokenizer.start, *library.encode("").ids} | special) - {library.token_to_id("<unk>")}


@EVERY
@pytest.mark.parametrize("text", SPELLED)
def test_text_that_spells_a_control_token_is_text(kind: str, text: str) -> None:
    tokenizer = made(kind)
    (ids,) = tokenizer.encode_texts([text])
    assert tokenizer.start in control_ids(tokenizer)
    assert len(ids)
    assert not control_ids(tokenizer) & set(ids.tolist())
    assert tokenizer.encode(text) == [tokenizer.start, *ids.tolist()]


@EVERY
@given(parts=st.lists(st.sampled_from([*"<s/>old ＜／", "<s>", "</s>", "<unk>"]), max_size=12))
def test_no_text_becomes_one(kind: str, parts: list[str]) -> None:
    tokenizer = made(kind)
    (ids,) = tokenizer.encode_texts(["".join(parts)])
    assert not control_ids(tokenizer) & set(ids.tolist())


@EVERY
@pytest.mark.parametrize("text", ["", "old new text", "oldnewtext", "<tool> old", "t e x t\nnew"])
def test_other_text_has_the_ids_of_the_library(kind: str, text: str) -> None:
    if kind == "replaced":
        text = text.replace("old", "new")
    tokenizer = made(kind)
    library = Tokenizer.from_str(tokenizer.json)
    wanted = library.encode(text, add_special_tokens=False).ids
    assert tokenizer.encode_texts([text])[0].tolist() == wanted


def test_every_byte_counted_has_its_tokens_scored() -> None:
    """A start token within a text is not scored: its bytes would count for nothing."""
    for make in KINDS.values():
        (ids,) = make().encode_texts(["<s> old <s> text"])
        text = ScoredText.as_streams(ids, 16, start=make().start)
        assert text.tokens == len(ids)


def test_control_tokens_are_shown_by_their_names() -> None:
    assert word_level().decode([1, 3, 2]) == "<s> old </s>"
    assert word_level().decode(word_level().encode("old</s>")) == "<s> <unk>"


def test_an_unknown_character_is_not_left_out() -> None:
    """Without a token for it the library would drop it, and its bytes would be counted."""
    with pytest.raises(InputError, match="leaves out a character of the text 'old東京': use one"):
        merged(None).encode("old東京")
    with pytest.raises(InputError, match=rf"of the text '{'x' * 40}\.\.\.'"):
        merged(None).encode_texts(["old", "x" * 50 + "東"])
    assert merged().encode("東")[1:] == [0]
    assert len(merged(None).encode("old")) == 4


def test_what_is_unknown_may_not_be_the_start_token() -> None:
    vocabulary = numbered(["<|endoftext|>", "old"])
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>"))
    found = finished(tokenizer, ["<|endoftext|>"])
    assert found.encode("old") == [0, 1]
    with pytest.raises(
        InputError, match=r"makes its control token '<\|endoftext\|>' of the text 'new': use one"
    ):
        found.encode("new")


def test_the_same_text_is_the_same_tokens_each_time() -> None:
    data = json.loads(bpe().json)
    data["model"]["dropout"] = 0.5
    assert JsonTokenizer(json.dumps(data)).encode(TEXT) == bpe().encode(TEXT)


def test_ids_stay_where_added_tokens_follow_the_vocabulary() -> None:
    tokenizer = Tokenizer(models.BPE(numbered(["a", "b"]), []))
    tokenizer.add_tokens(["<tool>"])
    tokenizer.add_special_tokens(["<s>", "</s>"])
    found = JsonTokenizer(tokenizer.to_str())
    assert (found.start, found.vocab_size) == (3, 5)
    with pytest.raises(InputError, match="leaves out a character"):
        found.encode("a<s>")
    assert found.encode("a<tool>b") == [3, 0, 2, 1]


def test_an_added_token_with_the_id_of_another_is_not_made() -> None:
    """The library numbers added tokens after the vocabulary's size, whatever its ids are."""
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "old": 2}, unk_token="<unk>"))
    found = finished(tokenizer, ["<s>"])
    with pytest.raises(InputError, match="makes its control token '<s>' of the text 'old'"):
        found.encode("old")


def test_gpt2_files_whose_merges_make_the_start_token(tmp_path: Path) -> None:
    names = sorted(pre_tokenizers.ByteLevel.alphabet())
    names += ["<s", "<s>"]
    (tmp_path / "vocab.json").write_text(json.dumps(numbered(names)), encoding="utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\n< s\n<s >\n")
    tokenizer = load_pair(tmp_path / "vocab.json", tmp_path / "merges.txt")
    assert tokenizer.start == names.index("<s>")
    ids = tokenizer.encode("a<s>b")
    assert tokenizer.start not in ids[1:]
    assert tokenizer.decode(ids[1:]) == "a<s>b"

"""Registers as a host sees them: values over several of them, frames, and what was refused."""

from __future__ import annotations

import json

from mmfree.chip.registers import (
    LOST,
    MAX_REGISTERS,
    WORD_BITS,
    WORD_BYTES,
    WORD_MAX,
    WRITE_FLAG,
    Access,
    Register,
    RegisterMap,
)

WIDE = Register(name="seed.a", access=Access.WRITE, numbers=(1, 2), bits=40, largest=(1 << 40) - 1)
ROW = Register(name="load.row", access=Access.WRITE, numbers=(3,), bits=5, largest=20)
BUSY = Register(name="busy", access=Access.FLAG, numbers=(7,), bits=1, largest=1, offset=2)
RESULT = Register(
    name="result.payload",
    access=Access.READ,
    numbers=(2, 4),
    bits=34,
    largest=(1 << 34) - 1,
    fields={"row": (0, 33), "last": (33, 1)},
)
MAP = RegisterMap(
    write={"seed.a": WIDE, "load.row": ROW}, read={"busy": BUSY, "result": RESULT}, identity=77
)


def test_a_frame_is_a_number_and_a_word() -> None:
    assert (WORD_BITS, WORD_BYTES, WORD_MAX, WRITE_FLAG) == (32, 4, 0xFFFFFFFF, 0x80)
    assert WIDE.write_frames(0x0102030405) == bytes.fromhex("81 05040302 82 01000000")
    assert ROW.write_frames() == bytes.fromhex("83 00000000")
    assert RESULT.read_frames() == bytes([2, 4])
    assert (WIDE.largest_words, ROW.largest_words) == ((0xFFFFFFFF, 0xFF), (20,))


def test_what_a_host_does_with_a_register_has_a_word() -> None:
    """The words of registers.json."""
    words = ["read", "flag", "write", "strobe", "send", "take", "clear"]
    assert [str(access) for access in Access] == words


def test_an_answer_holds_the_value_at_its_offset() -> None:
    assert [BUSY.value_of(bytes([flags, 0xFF, 0, 0])) for flags in (4, 0xFB)] == [1, 0]
    answer = ((1 << 33) + 5).to_bytes(8, "little")
    assert RESULT.fields_of(answer) == {"row": 5, "last": 1}
    assert RESULT.value_of(bytes([0xFF] * 8)) == (1 << 34) - 1


def test_what_was_refused_has_a_name() -> None:
    """With and without the flag of a frame that writes."""
    assert LOST == MAX_REGISTERS == 127
    named = {0: None, 1: "seed.a", 2: "seed.a", 3: "load.row", LOST: "a byte that was lost"}
    for number, name in named.items():
        assert MAP.refused_name(number) == name
        if number:
            assert MAP.refused_name(number | WRITE_FLAG) == name
    assert MAP.refused_name(4) == "number 4, which none has"


def test_json_leaves_out_limits_that_the_width_gives() -> None:
    """Large ones above all: few readers take integers of more than 53 bits."""
    values = json.loads(json.dumps(MAP.to_dict()))
    assert values["identity"] == 77
    assert values["write"]["seed.a"] == {
        "name": "seed.a",
        "access": "write",
        "numbers": [1, 2],
        "bits": 40,
        "largest": None,
        "offset": 0,
        "fields": {},
    }
    assert values["write"]["load.row"]["largest"] == 20
    assert values["read"]["busy"] | {"access": "flag", "offset": 2} == values["read"]["busy"]
    assert values["read"]["result"]["largest"] is None
    assert values["read"]["result"]["fields"] == {"row": [0, 33], "last": [33, 1]}

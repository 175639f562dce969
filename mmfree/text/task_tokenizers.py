"""Tokenizers of the checkable tasks: a problem to token ids, and the head's rows to its answer."""

from __future__ import annotations

import re

from mmfree.errors import InputError

MODULUS = 97
"""Of modular addition."""


class AdditionTokenizer:
    """Streaming addition: ``123+456``, also with blanks, becomes BOS a0 b0 a1 b1 ... 0 0.

    The least significant digits come first, so that the carry is all there is to remember. The last
    column, (0, 0), takes the last carry. Digits of a are ids 0-9, of b 10-19; ids 20-29 are
    reserved for digits of the sum, which this layout never feeds; BOS is 30. The head's ten rows
    are digits; the sum is read at the positions of b.
    """

    kind = "addition"
    vocab_size, head_size = 31, 10
    feeds_back = False
    b_offset = 10
    start = 30

    def encode(self, text: str) -> list[int]:
        """Ids of ``a+b``.

        Raises
        ------
        InputError
            If the text is not two decimal numbers joined by "+".
        """
        match = re.fullmatch(r"([0-9]+) *\+ *([0-9]+)", text.strip())
        if match is None:
            raise InputError(
                f"a prompt for addition is two decimal numbers such as 123+456, got {text[:40]!r}"
            )
        a, b = (number[::-1] for number in match.groups())
        columns = max(len(a), len(b)) + 1
        ids = [self.start]
        for x, y in zip(a.ljust(columns, "0"), b.ljust(columns, "0"), strict=True):
            ids += [int(x), int(y) + self.b_offset]
        return ids

    def decode(self, rows: list[int]) -> str:
        """The sum, from the rows at every position of a prompt."""
        digits = "".join(str(row) for row in rows[2::2])
        return digits[::-1].lstrip("0") or "0"

    def to_dict(self) -> dict[str, str]:
        """{"kind": "addition"}."""
        return {"kind": self.kind}


class ParityTokenizer:
    """Running parity: bits such as ``0110`` become ids 0 and 1 after BOS (2).

    At each position the head's two rows are the parity of the bits so far; the last is the answer.
    """

    kind = "parity"
    vocab_size, head_size = 3, 2
    feeds_back = False
    start = 2

    def encode(self, text: str) -> list[int]:
        """Ids of a string of bits; InputError if it is none."""
        if not re.fullmatch(r"[01]+", text.strip()):
            raise InputError(
                f"a prompt for parity is a string of bits such as 0110, got {text[:40]!r}"
            )
        return [self.start, *(int(bit) for bit in text.strip())]

    def decode(self, rows: list[int]) -> str:
        """The parity of all bits."""
        return str(rows[-1])

    def to_dict(self) -> dict[str, str]:
        """{"kind": "parity"}."""
        return {"kind": self.kind}


class ModularTokenizer:
    """``a+b`` modulo 97: ids a, 97 + b and "=" (194); the head's row at "=" is the sum.

    Each operand has ids of its own: with one set for both the model is given the symmetry of the
    sum, and learns the rule without weight decay (docs/log.md).
    """

    kind = "modular-addition"
    vocab_size, head_size = 2 * MODULUS + 1, MODULUS
    feeds_back = False
    b_offset, equals = MODULUS, 2 * MODULUS

    def encode(self, text: str) -> list[int]:
        """Ids of ``a+b``; InputError if these are not two numbers below 97."""
        # Python converts no thousands of digits: leading zeros first, then at most two digits.
        match = re.fullmatch(r"0*([0-9]{1,2}) *\+ *0*([0-9]{1,2})", text.strip())
        numbers = [int(number) for number in match.groups()] if match else []
        if not numbers or max(numbers) >= MODULUS:
            raise InputError(
                f"a prompt for modular addition is two numbers below {MODULUS} such as 12+96, got"
                f" {text[:40]!r}"
            )
        a, b = numbers
        return [a, b + self.b_offset, self.equals]

    def decode(self, rows: list[int]) -> str:
        """The sum."""
        return str(rows[-1])

    def to_dict(self) -> dict[str, str]:
        """{"kind": "modular-addition"}."""
        return {"kind": self.kind}

"""The fields of a shape with the largest value of each, and payloads packed with each checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data

from mmfree.chip.registers import check_value
from mmfree.errors import InputError


@dataclass(frozen=True)
class Leaf:
    """A field of a struct that is no struct itself: its name, with dots, and its place."""

    name: str
    start: int
    shape: Any

    @property
    def bits(self) -> int:
        """Its width."""
        return Shape.cast(self.shape).width


def leaves(shape: Any, name: str, start: int = 0) -> Iterator[Leaf]:
    """The fields of a struct of this name, and theirs; of another shape, itself."""
    if not isinstance(shape, data.StructLayout):
        yield Leaf(name, start, shape)
        return
    for key, field in shape:
        yield from leaves(field.shape, f"{name}.{key}" if name else str(key), start + field.offset)


def largest_value(shape: Any) -> int:
    """The largest value of a shape: of a range its last, of others as many ones as there are bits.

    Signed numbers, structs and arrays are taken as the bits that they consist of.
    """
    if isinstance(shape, range):
        assert shape == range(shape.stop), shape
        return shape.stop - 1
    return (1 << Shape.cast(shape).width) - 1


def pack(layout: data.StructLayout, name: str, values: Mapping[str, Any]) -> int:
    """The bits of a struct; fields that ``values`` does not name are 0.

    Raises
    ------
    InputError
        If a value is out of its field's range: it would be truncated.
    """
    _check_fields(layout, name, values)
    bits: int = layout.const(values).as_bits()
    return bits


def pack_array(layout: data.ArrayLayout, name: str, values: Sequence[int]) -> int:
    """The bits of an array of numbers.

    Raises
    ------
    InputError
        If there are not as many values, or one is out of range.
    """
    shape = Shape.cast(layout.elem_shape)
    low = -(1 << shape.width - 1) if shape.signed else 0
    high = low + (1 << shape.width) - 1
    if len(values) != layout.length or not all(low <= value <= high for value in values):
        raise InputError(f"{name} must be {layout.length} values in {low}..{high}, got {values}")
    bits: int = layout.const(values).as_bits()
    return bits


def _check_fields(layout: data.StructLayout, name: str, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        shape = layout[key].shape
        if isinstance(shape, data.StructLayout):
            _check_fields(shape, f"{name}.{key}", value)
        else:
            check_value(f"{name}.{key}", value, largest_value(shape))

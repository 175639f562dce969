"""Compressed data inside other files: zlib in base64 in JSON, bzip2 in binary sections.

Whatever is wrong with such data is one InputError.
"""

from __future__ import annotations

import base64
import bz2
import zlib

from mmfree.errors import InputError

LARGEST_BYTES = 1 << 26
"""Most bytes to pack, and most to unpack: a few bytes that unpack to gigabytes are refused."""


def pack_text(data: bytes) -> str:
    """``data`` in zlib and base64, for JSON; InputError beyond ``LARGEST_BYTES``."""
    check_size(data)
    return base64.b64encode(zlib.compress(data, 9)).decode("ascii")


def unpack_text(text: str) -> bytes:
    """The bytes that ``pack_text`` packed.

    Raises
    ------
    InputError
        If the text is not base64, or what it holds is not zlib's, is damaged, cut off or followed
        by more, or unpacks to more than ``LARGEST_BYTES``.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise InputError(f"cannot be unpacked: not base64: {error}") from None
    return _unpack(zlib.decompressobj(), data)


def pack_bytes(data: bytes) -> bytes:
    """``data`` in bzip2; InputError beyond ``LARGEST_BYTES``."""
    check_size(data)
    return bz2.compress(data, 9)


def unpack_bytes(data: bytes) -> bytes:
    """The bytes that ``pack_bytes`` packed.

    Raises
    ------
    InputError
        If the data is not bzip2's, is damaged, cut off or followed by more, or unpacks to more
        than ``LARGEST_BYTES``.
    """
    return _unpack(bz2.BZ2Decompressor(), data)


def check_size(data: bytes) -> None:
    """InputError if ``data`` is too large to be packed."""
    if len(data) > LARGEST_BYTES:
        raise InputError(
            f"has {len(data):,} bytes; a model carries at most {LARGEST_BYTES:,} of a tokenizer"
        )


def _unpack(decompressor: zlib._Decompress | bz2.BZ2Decompressor, data: bytes) -> bytes:
    try:
        # One byte more than allowed tells data of the largest size from data beyond it.
        unpacked = decompressor.decompress(data, LARGEST_BYTES + 1)
    except (zlib.error, OSError) as error:
        raise InputError(f"cannot be unpacked: {error}") from None
    if len(unpacked) > LARGEST_BYTES:
        raise InputError(f"cannot be unpacked: more than {LARGEST_BYTES:,} bytes")
    if not decompressor.eof:
        raise InputError("cannot be unpacked: the compressed data is cut off")
    if decompressor.unused_data:
        raise InputError("cannot be unpacked: something follows the compressed data")
    return unpacked

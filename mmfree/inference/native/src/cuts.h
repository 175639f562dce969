// Cut numbers as float64: the 28 highest bits of a mantissa, 27 beside the hidden one
// (docs/arithmetic_absmax.md, 3). Static, so that each path has its own.
#pragma once

#include <cstdint>

namespace mmfree {

constexpr int64_t CUT = ~((int64_t(1) << 25) - 1);

// Half a unit of the 18 bits to which an element is rounded before it is squared, and these bits.
constexpr int64_t SQUARED_HALF = int64_t(1) << 34;
constexpr int64_t SQUARED = ~((int64_t(1) << 35) - 1);

static inline int64_t bits_of(double value) { return __builtin_bit_cast(int64_t, value); }
static inline double of_bits(int64_t bits) { return __builtin_bit_cast(double, bits); }

static inline double cut(double exact) { return of_bits(bits_of(exact) & CUT); }

// Halves up by magnitude; a carry ends in the exponent.
static inline double rounded(double cut) {
    return of_bits((bits_of(cut) + SQUARED_HALF) & SQUARED);
}

}  // namespace mmfree

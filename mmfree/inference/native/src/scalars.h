// Scalars of docs/arithmetic_absmax.md, 4 to 6 and 8: one of each vector.
#pragma once

#include <cmath>
#include <cstdint>

namespace mmfree {

constexpr int SCALAR_BITS = 31;
constexpr int CONSTANT_BITS = 24;
constexpr int LARGEST_SHIFT = 62;

// mantissa * 2^exponent; the mantissa is 0 or has 31 bits.
struct Scalar {
    int64_t mantissa;
    int64_t exponent;
};

inline int bit_length(uint64_t value) { return value ? 64 - __builtin_clzll(value) : 0; }

inline Scalar scalar(int64_t value, int64_t exponent) {
    if (value == 0) return {0, -(1 << 20)};
    const int over = bit_length(uint64_t(value)) - SCALAR_BITS;
    return {over > 0 ? value >> over : value << -over, exponent + over};
}

inline Scalar add(Scalar a, Scalar b) {
    const Scalar high = a.exponent > b.exponent ? a : b, low = a.exponent > b.exponent ? b : a;
    const int64_t apart = high.exponent - low.exponent;
    return scalar(
        high.mantissa + (low.mantissa >> (apart < SCALAR_BITS ? apart : SCALAR_BITS)),
        high.exponent);
}

inline Scalar multiply(Scalar a, Scalar b) {
    return scalar(a.mantissa * b.mantissa, a.exponent + b.exponent);
}

// A positive float64, cut: `value` has no more bits than those of its mantissa.
inline Scalar scalar_of(double value) {
    if (value == 0) return scalar(0, 0);
    int exponent;
    const double fraction = std::frexp(value, &exponent);
    return scalar(int64_t(std::ldexp(fraction, 53)), exponent - 53);
}

struct Root {
    int64_t root;
    int64_t exponent;
};

// 1 / sqrt(s).
inline Root reciprocal_root(Scalar s) {
    const int drop = 1 + int((s.exponent + 1) & 1);
    const int64_t quotient = (int64_t(1) << 62) / (s.mantissa >> drop);
    // Below 2^49, where a root in float64 is exact when floored.
    const int64_t root = int64_t(std::sqrt(double(quotient << 14)));
    return {root, -38 - ((s.exponent + drop) >> 1)};
}

struct Factor {
    int64_t factor;
    int64_t exponent;
};

inline Factor factor(Scalar constant, Root root, Scalar largest) {
    const Scalar product = multiply(multiply(constant, scalar(root.root, root.exponent)), largest);
    return {product.mantissa >> (SCALAR_BITS - CONSTANT_BITS),
            product.exponent + SCALAR_BITS - CONSTANT_BITS};
}

// The sum of the squares of a vector, cut to 31 bits, of `sum`, which float64 has rounded at most
// `additions` times: if that cannot have changed the cut. Otherwise the caller adds exactly.
inline bool is_certain(double sum, int64_t additions) {
    const double doubt = sum * double(additions) * 0x1p-52;
    const auto highest = [](double value) { return __builtin_bit_cast(int64_t, value) >> 22; };
    return highest(sum - doubt) == highest(sum + doubt);
}

// The exact sum of the squares of rounded elements, in 256 bits.
class ExactSum {
public:
    // Adds value^2 of an integer of 18 bits times a power of two from 2^-27 on, below 2^88.
    void add_square(double value);
    Scalar cut() const;

private:
    static constexpr int LOWEST = 54;  // fraction bits
    uint64_t words_[4] = {};
};

}  // namespace mmfree

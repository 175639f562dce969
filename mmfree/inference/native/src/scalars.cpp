#include "scalars.h"

namespace mmfree {

void ExactSum::add_square(double value) {
    if (value == 0) return;
    int exponent;
    const uint64_t root = uint64_t(std::ldexp(std::frexp(std::fabs(value), &exponent), 18));
    const int place = 2 * (exponent - 18) + LOWEST;
    const unsigned __int128 square = (unsigned __int128)(root * root) << place % 64;
    uint64_t carry = 0;
    for (int word = place / 64, part = 0; word < 4; word++, part++) {
        const uint64_t added =
            part == 0 ? uint64_t(square) : part == 1 ? uint64_t(square >> 64) : 0;
        const unsigned __int128 sum = (unsigned __int128)words_[word] + added + carry;
        words_[word] = uint64_t(sum);
        carry = uint64_t(sum >> 64);
    }
}

Scalar ExactSum::cut() const {
    int top = 3;
    while (top > 0 && words_[top] == 0) top--;
    if (words_[top] == 0) return scalar(0, 0);
    const int length = 64 * top + bit_length(words_[top]);
    uint64_t mantissa = 0;
    for (int bit = length - 1; bit >= length - SCALAR_BITS; bit--)
        mantissa = mantissa << 1 | (bit >= 0 ? words_[bit / 64] >> bit % 64 & 1 : 0);
    return {int64_t(mantissa), int64_t(length) - SCALAR_BITS - LOWEST};
}

}  // namespace mmfree

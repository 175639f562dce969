// The choice of the next token (docs/arithmetic.md, 14).
#pragma once

#include <cstdint>

namespace mmfree {

// mmfree/inference/native/library.py has the same fields. The registers go on with each draw.
struct Choice {
    uint64_t a, b;            // shift registers of 64 and 63 bits
    const int32_t *gumbel;    // 2,048 entries with 9 fraction bits
    const uint8_t *choosable; // [rows]; nullptr: all
    int32_t temperature;      // in 64ths; 0: the most likely row
    int32_t logit_fb;
};

// The row of the largest key; the lowest of equals.
int32_t choose(Choice &, const int32_t *logits, int rows);

}  // namespace mmfree

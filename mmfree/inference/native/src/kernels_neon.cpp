// NEON with its dot product (Armv8.2): 16 weights an instruction.
#include "cuts.h"
#include "kernels.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
// GCC 12 gives it only to functions that may use all of Armv8.2: "+dotprod" alone is refused.
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif

#define MMFREE_FMA 1
#define MMFREE_LANES 2
#include "elementwise.h"

namespace mmfree {
namespace {

constexpr int TILE = 4;

// Four rows of a block at a time; the third field of the mask is 48, the fourth is shifted down.
template <int POSITIONS>
void product_of(const Product &p, int first) {
    const uint8x16_t masks[3] = {vdupq_n_u8(3), vdupq_n_u8(12), vdupq_n_u8(48)};
    const int8_t *activations = p.activations + int64_t(first) * p.activation_stride;
    const int64_t group_bytes = int64_t(p.blocks) * BLOCK_BYTES;
    for (int quarter = 0; quarter < 4 * p.groups; quarter++) {
        const uint8_t *block = p.weights + quarter / 4 * group_bytes + 16 * (quarter % 4);
        int32x4_t plain[POSITIONS], by_4[POSITIONS], by_16[POSITIONS];
        for (int i = 0; i < POSITIONS; i++) {
            plain[i] = vdupq_n_s32(p.minus[first + i]);
            by_4[i] = by_16[i] = vdupq_n_s32(0);
        }
        for (int b = 0; b < p.blocks; b++, block += BLOCK_BYTES) {
            const uint8x16_t packed = vld1q_u8(block);
            const int8x16_t codes[4] = {
                vreinterpretq_s8_u8(vandq_u8(packed, masks[0])),
                vreinterpretq_s8_u8(vandq_u8(packed, masks[1])),
                vreinterpretq_s8_u8(vandq_u8(packed, masks[2])),
                vreinterpretq_s8_u8(vshrq_n_u8(packed, 6))};
            for (int i = 0; i < POSITIONS; i++) {
                const int8x16_t x = vld1q_s8(
                    activations + int64_t(i) * p.activation_stride + BLOCK_COLUMNS * b);
                plain[i] = vdotq_laneq_s32(plain[i], codes[0], x, 0);
                by_4[i] = vdotq_laneq_s32(by_4[i], codes[1], x, 1);
                by_16[i] = vdotq_laneq_s32(by_16[i], codes[2], x, 2);
                plain[i] = vdotq_laneq_s32(plain[i], codes[3], x, 3);
            }
        }
        for (int i = 0; i < POSITIONS; i++) {
            const int32x4_t total = vaddq_s32(
                plain[i], vaddq_s32(vshrq_n_s32(by_4[i], 2), vshrq_n_s32(by_16[i], 4)));
            vst1q_s32(p.sums + int64_t(first + i) * p.sum_stride + 4 * quarter, total);
        }
    }
}

void product(const Product &p) {
    int done = 0;
    for (; done + TILE <= p.positions; done += TILE) product_of<TILE>(p, done);
    for (; done < p.positions; done++) product_of<1>(p, done);
}

}  // namespace

const Kernels neon_kernels = MMFREE_KERNELS;

}  // namespace mmfree

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif

// AVX2: 32 weights an instruction, in sums of 16 bits for as many blocks as cannot overflow.
#include "cuts.h"
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

#define MMFREE_FMA 1
#define MMFREE_LANES 4
#include "elementwise.h"

namespace mmfree {
namespace {

// A pair of products is at most 2 * 2 * 128 = 512, or 2,048 where the field stays four times as
// large; two fields of a block go into each sum: 2 * 7 * 2,048 < 2^15.
constexpr int NARROW_BLOCKS = 7;
constexpr int TILE = 4;

inline __m256i four(const int8_t *activations) {
    int32_t word;
    __builtin_memcpy(&word, activations, 4);
    return _mm256_set1_epi32(word);
}

// The sums of 8 rows (half of a block) of 16 columns.
struct Fields {
    __m256i low[2], high[2];  // columns 0..3 and 8..11; 4..7 and 12..15, four times as large
};

inline Fields fields(const uint8_t *half) {
    const __m256i packed = _mm256_load_si256((const __m256i *)half);
    const __m256i shifted = _mm256_srli_epi16(packed, 4);
    const __m256i first = _mm256_set1_epi8(3), second = _mm256_set1_epi8(12);
    return {
        {_mm256_and_si256(packed, first), _mm256_and_si256(shifted, first)},
        {_mm256_and_si256(packed, second), _mm256_and_si256(shifted, second)}};
}

template <int POSITIONS>
void product_of(const Product &p, int first) {
    const __m256i ones = _mm256_set1_epi16(1);
    const int8_t *activations = p.activations + int64_t(first) * p.activation_stride;
    const uint8_t *start = p.weights;
    for (int group = 0; group < p.groups; group++, start += int64_t(p.blocks) * BLOCK_BYTES)
        for (int half = 0; half < 2; half++) {
            __m256i low[POSITIONS], high[POSITIONS];
            for (int i = 0; i < POSITIONS; i++) {
                low[i] = _mm256_set1_epi32(p.minus[first + i]);
                high[i] = _mm256_setzero_si256();
            }
            const uint8_t *block = start + 32 * half;
            for (int b = 0; b < p.blocks;) {
                const int end = b + NARROW_BLOCKS < p.blocks ? b + NARROW_BLOCKS : p.blocks;
                __m256i narrow_low[POSITIONS] = {}, narrow_high[POSITIONS] = {};
                for (; b < end; b++, block += BLOCK_BYTES) {
                    const Fields codes = fields(block);
#pragma GCC unroll 4
                    for (int i = 0; i < POSITIONS; i++) {
                        const int8_t *x =
                            activations + int64_t(i) * p.activation_stride + BLOCK_COLUMNS * b;
                        narrow_low[i] = _mm256_add_epi16(
                            narrow_low[i],
                            _mm256_add_epi16(
                                _mm256_maddubs_epi16(codes.low[0], four(x)),
                                _mm256_maddubs_epi16(codes.low[1], four(x + 8))));
                        narrow_high[i] = _mm256_add_epi16(
                            narrow_high[i],
                            _mm256_add_epi16(
                                _mm256_maddubs_epi16(codes.high[0], four(x + 4)),
                                _mm256_maddubs_epi16(codes.high[1], four(x + 12))));
                    }
                }
                for (int i = 0; i < POSITIONS; i++) {
                    low[i] = _mm256_add_epi32(low[i], _mm256_madd_epi16(narrow_low[i], ones));
                    high[i] = _mm256_add_epi32(high[i], _mm256_madd_epi16(narrow_high[i], ones));
                }
            }
            for (int i = 0; i < POSITIONS; i++) {
                int32_t *sums = p.sums + int64_t(first + i) * p.sum_stride + GROUP_ROWS * group;
                const __m256i total = _mm256_add_epi32(low[i], _mm256_srai_epi32(high[i], 2));
                _mm256_storeu_si256((__m256i *)(sums + 8 * half), total);
            }
        }
}

// One position: both halves of a block at once, in the order of memory.
void product_of_one(const Product &p) {
    const __m256i ones = _mm256_set1_epi16(1);
    const uint8_t *block = p.weights;
    for (int group = 0; group < p.groups; group++) {
        __m256i low[2] = {_mm256_set1_epi32(p.minus[0]), _mm256_set1_epi32(p.minus[0])};
        __m256i high[2] = {};
        for (int b = 0; b < p.blocks;) {
            const int end = b + NARROW_BLOCKS < p.blocks ? b + NARROW_BLOCKS : p.blocks;
            __m256i narrow_low[2] = {}, narrow_high[2] = {};
            for (; b < end; b++, block += BLOCK_BYTES) {
                const int8_t *x = p.activations + BLOCK_COLUMNS * b;
                const __m256i x0 = four(x), x1 = four(x + 4), x2 = four(x + 8), x3 = four(x + 12);
#pragma GCC unroll 2
                for (int half = 0; half < 2; half++) {
                    const Fields codes = fields(block + 32 * half);
                    narrow_low[half] = _mm256_add_epi16(
                        narrow_low[half],
                        _mm256_add_epi16(
                            _mm256_maddubs_epi16(codes.low[0], x0),
                            _mm256_maddubs_epi16(codes.low[1], x2)));
                    narrow_high[half] = _mm256_add_epi16(
                        narrow_high[half],
                        _mm256_add_epi16(
                            _mm256_maddubs_epi16(codes.high[0], x1),
                            _mm256_maddubs_epi16(codes.high[1], x3)));
                }
            }
            for (int half = 0; half < 2; half++) {
                low[half] = _mm256_add_epi32(low[half], _mm256_madd_epi16(narrow_low[half], ones));
                high[half] =
                    _mm256_add_epi32(high[half], _mm256_madd_epi16(narrow_high[half], ones));
            }
        }
        for (int half = 0; half < 2; half++)
            _mm256_storeu_si256(
                (__m256i *)(p.sums + GROUP_ROWS * group + 8 * half),
                _mm256_add_epi32(low[half], _mm256_srai_epi32(high[half], 2)));
    }
}

void product(const Product &p) {
    if (p.positions == 1) return product_of_one(p);
    int done = 0;
    for (; done + TILE <= p.positions; done += TILE) product_of<TILE>(p, done);
    for (; done < p.positions; done++) product_of<1>(p, done);
}

}  // namespace

const Kernels avx2_kernels = MMFREE_KERNELS;

}  // namespace mmfree

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif

// AVX-512 with VNNI: 64 weights an instruction.
#include "cuts.h"
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))), \
    apply_to = function)
#else
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,prefer-vector-width=512")
#endif

#define MMFREE_FMA 1
#define MMFREE_LANES 8
#include "elementwise.h"

namespace mmfree {
namespace {

inline __m512i four(const int8_t *activations) {
    int32_t word;
    __builtin_memcpy(&word, activations, 4);
    return _mm512_set1_epi32(word);
}

// One position. The fields stay in their places: a field times 4, 16 or 64 is summed by itself, and
// is shifted back at the end, without a rest. Two blocks at a time, so that eight sums are under way.
void product_of_one(const Product &p, const uint8_t *block, int32_t *sums) {
    const __m512i masks[4] = {
        _mm512_set1_epi8(3), _mm512_set1_epi8(12), _mm512_set1_epi8(48),
        _mm512_set1_epi8(char(192))};
    for (int group = 0; group < p.groups; group++) {
        __m512i even[4] = {_mm512_set1_epi32(p.minus[0])}, odd[4] = {};
        const int8_t *x = p.activations;
        int left = p.blocks;
        for (; left >= 2; left -= 2, block += 2 * BLOCK_BYTES, x += 2 * BLOCK_COLUMNS) {
            const __m512i first = _mm512_load_si512(block);
            const __m512i second = _mm512_load_si512(block + BLOCK_BYTES);
#pragma GCC unroll 4
            for (int f = 0; f < 4; f++) {
                even[f] = _mm512_dpbusd_epi32(
                    even[f], _mm512_and_si512(first, masks[f]), four(x + 4 * f));
                odd[f] = _mm512_dpbusd_epi32(
                    odd[f], _mm512_and_si512(second, masks[f]), four(x + BLOCK_COLUMNS + 4 * f));
            }
        }
        if (left) {
            const __m512i last = _mm512_load_si512(block);
            block += BLOCK_BYTES;
#pragma GCC unroll 4
            for (int f = 0; f < 4; f++)
                even[f] = _mm512_dpbusd_epi32(
                    even[f], _mm512_and_si512(last, masks[f]), four(x + 4 * f));
        }
        __m512i total = _mm512_add_epi32(even[0], odd[0]);
#pragma GCC unroll 3
        for (int f = 1; f < 4; f++)
            total = _mm512_add_epi32(
                total, _mm512_srai_epi32(_mm512_add_epi32(even[f], odd[f]), 2 * f));
        _mm512_storeu_si512(sums + GROUP_ROWS * group, total);
    }
}

// Several positions: each block is unpacked once for all of them.
template <int POSITIONS>
void product_of(const Product &p, const uint8_t *block, int first) {
    const __m512i mask = _mm512_set1_epi8(3);
    const int8_t *activations = p.activations + int64_t(first) * p.activation_stride;
    for (int group = 0; group < p.groups; group++) {
        __m512i total[POSITIONS];
#pragma GCC unroll 16
        for (int i = 0; i < POSITIONS; i++) total[i] = _mm512_set1_epi32(p.minus[first + i]);
        const int8_t *x = activations;
        for (int b = 0; b < p.blocks; b++, block += BLOCK_BYTES, x += BLOCK_COLUMNS) {
            const __m512i packed = _mm512_load_si512(block);
#pragma GCC unroll 4
            for (int f = 0; f < 4; f++) {
                const __m512i codes = _mm512_and_si512(_mm512_srli_epi16(packed, 2 * f), mask);
#pragma GCC unroll 16
                for (int i = 0; i < POSITIONS; i++)
                    total[i] = _mm512_dpbusd_epi32(
                        total[i], codes, four(x + int64_t(i) * p.activation_stride + 4 * f));
            }
        }
#pragma GCC unroll 16
        for (int i = 0; i < POSITIONS; i++)
            _mm512_storeu_si512(
                p.sums + int64_t(first + i) * p.sum_stride + GROUP_ROWS * group, total[i]);
    }
}

void product(const Product &p) {
    if (p.positions == 1) return product_of_one(p, p.weights, p.sums);
    int done = 0;
    for (; done + 16 <= p.positions; done += 16) product_of<16>(p, p.weights, done);
    for (; done + 8 <= p.positions; done += 8) product_of<8>(p, p.weights, done);
    for (; done + 4 <= p.positions; done += 4) product_of<4>(p, p.weights, done);
    for (; done + 2 <= p.positions; done += 2) product_of<2>(p, p.weights, done);
    for (; done < p.positions; done++) product_of<1>(p, p.weights, done);
}

}  // namespace

const Kernels avx512_kernels = MMFREE_KERNELS;

}  // namespace mmfree

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif

// What a path (an instruction set) implements: the ternary product, and the loops over elements.
//
// Every function works on the elements or rows that one thread owns, and keeps nothing. Loops return
// how many values they clamped, where the contract counts them.
#pragma once

#include <cstdint>

namespace mmfree {

// Packed weights: groups of 16 rows, blocks of 16 columns, 64 bytes each. Byte 4 r + c of a block
// holds the columns c, 4 + c, 8 + c and 12 + c of row r, from the lowest bits up, as weight + 1.
// So a dword is a row: four activations are broadcast, and no sum goes across lanes.
constexpr int GROUP_ROWS = 16;
constexpr int BLOCK_COLUMNS = 16;
constexpr int BLOCK_BYTES = 64;

// Positions whose activations share one unpacking of the weights.
constexpr int MOST_POSITIONS = 16;

// Weights of a few groups of rows, and the activations of some positions that they multiply.
struct Product {
    const uint8_t *weights;  // of the first group
    int groups;
    int blocks;               // of columns; activations are 0 beyond the fan-in
    int positions;            // 1..MOST_POSITIONS
    const int8_t *activations;
    int activation_stride;    // from position to position
    const int32_t *minus;     // [positions]: minus the sum of the activations, as codes are weight + 1
    int32_t *sums;            // of the first row
    int sum_stride;
};

// --------------------------------------------------------------------------------- pow2
struct Pow2Quantized {
    int32_t sum;         // of q
    int32_t squares;     // S
    int64_t saturated;
};

struct Pow2Tables {
    int32_t sigmoid[256];
    int32_t silu[256];
    int32_t gate;        // 0 sigmoid, 1 hard, 2 signed
    int32_t forget_fb;
    int32_t index_shift;    // from the state to an index into silu
    int32_t product_shift;  // of a product with silu
};

struct Pow2MixCounts {
    int64_t gate, state, product;
};

// ------------------------------------------------------------------------------- absmax
constexpr uint32_t SIGMOID_ENTRIES = 4096;

struct AbsmaxTables {
    int32_t sigmoid[2 * SIGMOID_ENTRIES];  // values, then rises
    int32_t step_fb;     // of a step from entry to entry
    int32_t forget_fb;
};

constexpr int MOST_GAINS = 3;

// Of the elements w of a vector, as cut numbers in float64 (docs/arithmetic_absmax.md, 3).
struct AbsmaxStatistics {
    double largest[MOST_GAINS];  // of |w * gain|, not yet cut
    double squares;              // sum of the squares under the root, rounded: see sum_of_squares()
    double base_squares;
};

struct AbsmaxVector {
    const double *w;
    const double *base;   // nullptr: none
    const int32_t *norm;  // gains of the norm; nullptr: none
    const int32_t *gains[MOST_GAINS];
    int num_gains;
};

struct Kernels {
    void (*product)(const Product &);
    uint64_t (*read)(const uint8_t *from, uint64_t bytes);  // the words, one OR of them all

    int32_t (*pow2_fold)(const int16_t *u, int n);
    Pow2Quantized (*pow2_quantize)(const int16_t *u, int n, int shift, int8_t *q);
    int64_t (*pow2_requantize)(
        int32_t *sums, int n, int32_t multiplier, int shift, int32_t low, int32_t high, bool wide);
    Pow2MixCounts (*pow2_mix)(
        const Pow2Tables &, const int32_t *i, const int32_t *z, const int32_t *g,
        const int32_t *bias, int16_t *h, int16_t *u, int n);
    int64_t (*pow2_glu)(
        const Pow2Tables &, const int32_t *gate, const int32_t *up, int16_t *u, int n);
    int64_t (*pow2_add)(int16_t *x, const int32_t *y, int n);

    void (*absmax_cut)(const int32_t *x, int n, double *w);
    void (*absmax_statistics)(const AbsmaxVector &, int n, AbsmaxStatistics &);
    int32_t (*absmax_quantize)(
        const double *w, const int32_t *gain, int n, double align, double ratio, int8_t *q);
    int64_t (*absmax_requantize)(int32_t *sums, int n, double factor, int shift);
    void (*absmax_mix)(
        const AbsmaxTables &, const int32_t *i, const int32_t *z, const int32_t *g,
        const int32_t *bound, int32_t *h, double *w, double *base, int n);
    void (*absmax_glu)(
        const AbsmaxTables &, const int32_t *gate, const int32_t *up, double *w, int n);
    int64_t (*absmax_add)(int32_t *x, const int32_t *y, double *w, int n);
};

// Those of the processor that this is compiled for.
enum Path { PLAIN, AVX2, AVX512, NEON, NUM_PATHS };
extern const Kernels plain_kernels;
#if defined(__x86_64__)
extern const Kernels avx2_kernels, avx512_kernels;
#elif defined(__aarch64__)
extern const Kernels neon_kernels;
#endif

}  // namespace mmfree

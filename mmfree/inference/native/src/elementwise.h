// Loops over elements, compiled anew for each path: included by kernels_*.cpp after the pragma that
// names the instruction set. In an unnamed namespace, so that no path is given another one's code.
//
// MMFREE_FMA: 1 where a fused multiply-add is one instruction.
#pragma once

namespace mmfree {
namespace {

inline int32_t clamped(int32_t value, int32_t low, int32_t high) {
    return value < low ? low : value > high ? high : value;
}

uint64_t read(const uint8_t *from, uint64_t bytes) {
    const uint64_t *words = reinterpret_cast<const uint64_t *>(from);
    uint64_t all[32] = {};
    uint64_t word = 0;
    for (; word + 32 <= bytes / 8; word += 32)
        for (int lane = 0; lane < 32; lane++) all[lane] |= words[word + lane];
    for (; word < bytes / 8; word++) all[0] |= words[word];
    for (int lane = 1; lane < 32; lane++) all[0] |= all[lane];
    return all[0];
}

// --------------------------------------------------------------------------------- pow2
int32_t pow2_fold(const int16_t *u, int n) {
    int16_t folded = 0;
    for (int j = 0; j < n; j++) folded |= u[j] ^ (u[j] >> 15);
    return folded;
}

Pow2Quantized pow2_quantize(const int16_t *u, int n, int shift, int8_t *q) {
    int32_t sum = 0, squares = 0, saturated = 0;
#pragma GCC ivdep
    for (int j = 0; j < n; j++) {
        int32_t value = ((int32_t(u[j]) << shift) + 128) >> 8;
        saturated += value > 127;
        value = value > 127 ? 127 : value;
        q[j] = int8_t(value);
        sum += value;
        squares += value * value;
    }
    return {sum, squares, saturated};
}

int64_t pow2_requantize(
    int32_t *sums, int n, int32_t multiplier, int shift, int32_t low, int32_t high, bool wide) {
    int32_t saturated = 0;
    if (wide) {
        const int64_t half = int64_t(1) << (shift - 1);
        for (int j = 0; j < n; j++) {
            const int64_t value = (int64_t(sums[j]) * multiplier + half) >> shift;
            const int64_t kept = value < low ? low : value > high ? high : value;
            saturated += kept != value;
            sums[j] = int32_t(kept);
        }
        return saturated;
    }
    const int32_t half = 1 << (shift - 1);
#pragma GCC ivdep
    for (int j = 0; j < n; j++) {
        const int32_t value = (sums[j] * multiplier + half) >> shift;
        const int32_t kept = clamped(value, low, high);
        saturated += kept != value;
        sums[j] = kept;
    }
    return saturated;
}

template <int GATE>
Pow2MixCounts pow2_mix_of(
    const Pow2Tables &tables, const int32_t *i, const int32_t *z, const int32_t *g,
    const int32_t *bias, int16_t *h, int16_t *u, int n) {
    const int32_t *sigmoid = tables.sigmoid + 128, *silu = tables.silu + 128;
    const int32_t one = 1 << tables.forget_fb, half = one >> 1;
    const int index_shift = tables.index_shift, product_shift = tables.product_shift;
    const int32_t index_half = (1 << index_shift) >> 1, product_half = (1 << product_shift) >> 1;
    const int forget_fb = tables.forget_fb;
    int32_t in_gate = 0, in_state = 0, in_product = 0;
#pragma GCC ivdep
    for (int j = 0; j < n; j++) {
        const int32_t open = z[j] + bias[j];
        int32_t f;
        if constexpr (GATE == 0) {
            const int32_t index = clamped(open, -128, 127);
            in_gate += index != open;
            f = sigmoid[index];
        } else if constexpr (GATE == 1) {
            f = clamped(open + half, 0, one);
        } else {
            f = clamped(open, -one, one);
        }
        const int32_t before = h[j], start = f < 0 ? -before : before;
        const int32_t load = one - (f < 0 ? -f : f);
        const int32_t after = start + ((load * (silu[i[j]] - start) + half) >> forget_fb);
        h[j] = int16_t(after);
        const int32_t index = (after + index_half) >> index_shift;
        const int32_t kept = clamped(index, -128, 127);
        in_state += kept != index;
        const int32_t product = (g[j] * silu[kept] + product_half) >> product_shift;
        const int32_t out = clamped(product, -32768, 32767);
        in_product += out != product;
        u[j] = int16_t(out);
    }
    return {in_gate, in_state, in_product};
}

Pow2MixCounts pow2_mix(
    const Pow2Tables &tables, const int32_t *i, const int32_t *z, const int32_t *g,
    const int32_t *bias, int16_t *h, int16_t *u, int n) {
    switch (tables.gate) {
        case 0: return pow2_mix_of<0>(tables, i, z, g, bias, h, u, n);
        case 1: return pow2_mix_of<1>(tables, i, z, g, bias, h, u, n);
        default: return pow2_mix_of<2>(tables, i, z, g, bias, h, u, n);
    }
}

int64_t pow2_glu(
    const Pow2Tables &tables, const int32_t *gate, const int32_t *up, int16_t *u, int n) {
    const int32_t *silu = tables.silu + 128;
    const int shift = tables.product_shift;
    const int32_t half = (1 << shift) >> 1;
    int32_t saturated = 0;
#pragma GCC ivdep
    for (int j = 0; j < n; j++) {
        const int32_t product = (up[j] * silu[gate[j]] + half) >> shift;
        const int32_t out = clamped(product, -32768, 32767);
        saturated += out != product;
        u[j] = int16_t(out);
    }
    return saturated;
}

int64_t pow2_add(int16_t *x, const int32_t *y, int n) {
    int32_t saturated = 0;
#pragma GCC ivdep
    for (int j = 0; j < n; j++) {
        const int32_t sum = x[j] + y[j];
        const int32_t kept = clamped(sum, -32768, 32767);
        saturated += kept != sum;
        x[j] = int16_t(kept);
    }
    return saturated;
}

// ------------------------------------------------------------------------------- absmax
constexpr int64_t MAGNITUDE = INT64_MAX;
constexpr double INT32_ABOVE = 2147483648.0;

inline double cut_product(int32_t a, int32_t b) {
#if MMFREE_FMA
    // Of up to 63 bits, so float64 rounds it. Rounded away from zero it is a step back, and then has
    // the highest bits of the exact product.
    const double product = double(a) * double(b);
    const double rest = __builtin_fma(double(a), double(b), -product);
    const int64_t bits = bits_of(product);
    const int64_t opposite = (bits_of(rest) ^ bits) < 0 ? 1 : 0;
    return of_bits((bits - (rest != 0 ? opposite : 0)) & CUT);
#else
    const int64_t product = int64_t(a) * b, magnitude = product < 0 ? -product : product;
    const int length = magnitude ? 64 - __builtin_clzll(uint64_t(magnitude)) : 0;
    const int drop = length > 28 ? length - 28 : 0;
    const double kept = double(magnitude >> drop << drop);
    return product < 0 ? -kept : kept;
#endif
}

// `table` has the values of all entries, and then their rises. Indices are signed, and offsets are
// those of pointers: so compilers make gathers of them.
inline int32_t sigmoid(const int32_t *table, int fb, int32_t z) {
    const uint32_t magnitude = z < 0 ? 0u - uint32_t(z) : uint32_t(z);
    const uint32_t entry = magnitude >> fb;
    const int32_t at = int32_t(entry < SIGMOID_ENTRIES - 1 ? entry : SIGMOID_ENTRIES - 1);
    const uint32_t part = magnitude & ((1u << fb) - 1);
    const uint32_t rise = uint32_t((table + SIGMOID_ENTRIES)[at]);
    const int32_t within = table[at] + int32_t((rise * part + ((1u << fb) >> 1)) >> fb);
    const int32_t value = entry < SIGMOID_ENTRIES ? within : 1 << 24;
    return z < 0 ? (1 << 24) - value : value;
}

// What is shifted has its result in 32 bits: so the shift may be a logical one, which AVX2 has.
inline int32_t shifted(int64_t value, int bits) { return int32_t(uint64_t(value) >> bits); }

inline int32_t silu(const int32_t *table, int fb, int32_t x) {
    return shifted(int64_t(x) * sigmoid(table, fb, x) + (1 << 23), 24);
}

void absmax_cut(const int32_t *x, int n, double *w) {
#pragma GCC ivdep
    for (int j = 0; j < n; j++) w[j] = cut(double(x[j]));
}

// float64 in as many lanes as the path has; sums and maxima are kept in lanes.
typedef double Doubles __attribute__((vector_size(8 * MMFREE_LANES)));
typedef int64_t Longs __attribute__((vector_size(8 * MMFREE_LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * MMFREE_LANES)));

inline Doubles load(const double *from) {
    Doubles values;
    __builtin_memcpy(&values, from, sizeof values);
    return values;
}
inline Doubles load(const int32_t *from) {
    Ints values;
    __builtin_memcpy(&values, from, sizeof values);
    return __builtin_convertvector(values, Doubles);
}
using ::mmfree::cut;
using ::mmfree::rounded;
inline Doubles cut(Doubles exact) { return (Doubles)((Longs)exact & CUT); }
inline Doubles magnitude(Doubles value) { return (Doubles)((Longs)value & MAGNITUDE); }
inline Doubles rounded(Doubles cut) {
    return (Doubles)(((Longs)cut + SQUARED_HALF) & SQUARED);
}
inline Doubles larger(Doubles a, Doubles b) { return a > b ? a : b; }

template <int GAINS, bool NORM, bool BASE>
void statistics_of(const AbsmaxVector &vector, int n, AbsmaxStatistics &out) {
    Doubles largest[GAINS] = {}, squares = {}, base_squares = {};
    int j = 0;
    for (; j + MMFREE_LANES <= n; j += MMFREE_LANES) {
        const Doubles w = load(vector.w + j);
        for (int k = 0; k < GAINS; k++)
            largest[k] = larger(magnitude(w * load(vector.gains[k] + j)), largest[k]);
        const Doubles u = rounded(NORM ? cut(w * load(vector.norm + j)) : w);
        squares += u * u;
        if (BASE) {
            const Doubles base = rounded(load(vector.base + j));
            base_squares += base * base;
        }
    }
    for (int k = 0; k < GAINS; k++) {
        out.largest[k] = 0;
        for (int lane = 0; lane < MMFREE_LANES; lane++)
            out.largest[k] = out.largest[k] > largest[k][lane] ? out.largest[k] : largest[k][lane];
    }
    out.squares = out.base_squares = 0;
    for (int lane = 0; lane < MMFREE_LANES; lane++) {
        out.squares += squares[lane];
        out.base_squares += base_squares[lane];
    }
    for (; j < n; j++) {
        const double w = vector.w[j];
        for (int k = 0; k < GAINS; k++) {
            const double v = __builtin_fabs(w * vector.gains[k][j]);
            out.largest[k] = v > out.largest[k] ? v : out.largest[k];
        }
        const double u = rounded(NORM ? cut(w * vector.norm[j]) : w);
        out.squares += u * u;
        if (BASE) out.base_squares += rounded(vector.base[j]) * rounded(vector.base[j]);
    }
}

void absmax_statistics(const AbsmaxVector &vector, int n, AbsmaxStatistics &out) {
    if (vector.num_gains == 3)
        statistics_of<3, true, true>(vector, n, out);
    else if (vector.norm != nullptr)
        statistics_of<1, true, true>(vector, n, out);
    else
        statistics_of<1, false, false>(vector, n, out);
}

// q = floor((254 a + M) / (2 M)) for a = the magnitude aligned to the largest, M; `align` makes 2^27
// to 2^28 - 1 of the largest, `ratio` is 127 / M. A fraction of 127 a / M + 1/2 is a multiple of
// 1 / (2 M), at least 2^-29: so a float64 that is 2^-31 above it has the same floor.
int32_t absmax_quantize(
    const double *w, const int32_t *gain, int n, double align, double ratio, int8_t *q) {
    constexpr double HALF = 0.5 + 1.0 / (int64_t(1) << 31);
    int32_t sum = 0;
#pragma GCC ivdep
    for (int j = 0; j < n; j++) {
        const double v = cut(w[j] * gain[j]);
        const int32_t aligned = int32_t(__builtin_fabs(v) * align);
        const int32_t magnitude = int32_t(aligned * ratio + HALF);
        const int32_t value = v < 0 ? -magnitude : magnitude;
        q[j] = int8_t(value);
        sum += value;
    }
    return sum;
}

// acc * F has at most 47 bits and is exact; so is its half step, as far as it decides anything.
int64_t absmax_requantize(int32_t *sums, int n, double factor, int shift) {
    int32_t saturated = 0;
    if (shift == 0) {
        for (int j = 0; j < n; j++) {
            const double product = sums[j] * factor;
            saturated += product != 0;
            sums[j] = product > 0 ? INT32_MAX : product < 0 ? INT32_MIN : 0;
        }
        return saturated;
    }
    const double step = factor * of_bits(int64_t(1023 - shift) << 52);
#pragma GCC ivdep
    for (int j = 0; j < n; j++) {
        const double value = __builtin_floor(sums[j] * step + 0.5);
        const double low = value < -INT32_ABOVE ? -INT32_ABOVE : value;
        const double kept = low > INT32_ABOVE - 1 ? INT32_ABOVE - 1 : low;
        saturated += kept != value;
        sums[j] = int32_t(kept);
    }
    return saturated;
}

void absmax_mix(
    const AbsmaxTables &tables, const int32_t *i, const int32_t *z, const int32_t *g,
    const int32_t *bound, int32_t *h, double *w, double *base, int n) {
    const int forget_fb = tables.forget_fb, fb = tables.step_fb;
    const int32_t *table = tables.sigmoid;
    const int64_t one = int64_t(1) << forget_fb, half = one >> 1;
#pragma GCC ivdep
    for (int j = 0; j < n; j++) {
        const int64_t kept = one - bound[j];
        const int64_t f = bound[j] + shifted(kept * sigmoid(table, fb, z[j]) + (1 << 23), 24);
        const int64_t load = int64_t(silu(table, fb, i[j])) - h[j];
        // Between h and the candidate: what is added may need 33 bits, the sum does not.
        const int32_t after = h[j] + shifted((one - f) * load + half, forget_fb);
        h[j] = after;
        w[j] = cut_product(g[j], silu(table, fb, after));
        base[j] = cut(double(g[j]));
    }
}

void absmax_glu(
    const AbsmaxTables &tables, const int32_t *gate, const int32_t *up, double *w, int n) {
    const int32_t *table = tables.sigmoid;
    const int fb = tables.step_fb;
#pragma GCC ivdep
    for (int j = 0; j < n; j++) w[j] = cut_product(up[j], silu(table, fb, gate[j]));
}

int64_t absmax_add(int32_t *x, const int32_t *y, double *w, int n) {
    int32_t saturated = 0;
#pragma GCC ivdep
    for (int j = 0; j < n; j++) {
        const int32_t sum = int32_t(uint32_t(x[j]) + uint32_t(y[j]));
        // The sum overflows where both have the sign that it has not.
        const bool over = ((x[j] ^ sum) & (y[j] ^ sum)) < 0;
        const int32_t kept = over ? (sum < 0 ? INT32_MAX : INT32_MIN) : sum;
        saturated += over;
        x[j] = kept;
        w[j] = cut(double(kept));
    }
    return saturated;
}

}  // namespace
}  // namespace mmfree

#define MMFREE_KERNELS                                                                          \
    {                                                                                           \
        product, read, pow2_fold, pow2_quantize, pow2_requantize, pow2_mix, pow2_glu, pow2_add,       \
            absmax_cut, absmax_statistics, absmax_quantize, absmax_requantize, absmax_mix,      \
            absmax_glu, absmax_add                                                              \
    }

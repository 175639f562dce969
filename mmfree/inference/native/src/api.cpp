// The C interface, for ctypes: mmfree/inference/native/library.py declares the same. mmfree_new says
// that there is no memory; the others take little, and end the process without it.
#include <algorithm>
#include <vector>

#include "absmax.h"
#include "pow2.h"
#include "sampler.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#define MMFREE_API extern "C" __attribute__((visibility("default")))

#if !defined(MMFREE_SOURCES)
#define MMFREE_SOURCES "unknown"
#endif

using namespace mmfree;

namespace {

bool is_here(int path) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (path == AVX2) return avx2;
    if (path == AVX512)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
            && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
            && __builtin_cpu_supports("avx512vnni");
#elif defined(__aarch64__) && defined(__APPLE__)
    if (path == NEON) return true;
#elif defined(__aarch64__) && defined(__linux__)
    if (path == NEON) return getauxval(AT_HWCAP) & (1 << 20);  // HWCAP_ASIMDDP
#endif
    return path == PLAIN;
}

const Kernels &kernels_of(int path) {
#if defined(__x86_64__)
    if (path == AVX2) return avx2_kernels;
    if (path == AVX512) return avx512_kernels;
#elif defined(__aarch64__)
    if (path == NEON) return neon_kernels;
#endif
    return plain_kernels;
}

}  // namespace

// What the library was made of: the loader compares it with the sources that it finds.
MMFREE_API const char *mmfree_sources() { return MMFREE_SOURCES; }

// Bit p: path p (kernels.h) can be played here.
MMFREE_API uint32_t mmfree_paths() {
    uint32_t found = 0;
    for (int path = 0; path < NUM_PATHS; path++) found |= uint32_t(is_here(path)) << path;
    return found;
}

// nullptr: no memory, or no threads.
MMFREE_API Player *mmfree_new(const Settings *settings) {
    try {
        const Kernels &kernels = kernels_of(settings->path);
        auto made = settings->arithmetic == 0 ? make_pow2_player(*settings, kernels)
                                              : make_absmax_player(*settings, kernels);
        return made.release();
    } catch (...) {
        return nullptr;
    }
}

MMFREE_API void mmfree_delete(Player *player) { delete player; }

// Both stay the caller's, and must stay.
MMFREE_API void mmfree_set_embedding(
    Player *player, const int8_t *rows, const uint16_t *scales) {
    player->set_embedding(rows, scales);
}

// 0, or why the bytes are no weights: 1 a byte that is no code, 2 padding that is not 0.
MMFREE_API int mmfree_set_matrix(
    Player *player, int segment, int index, const uint8_t *codes, int64_t count, int64_t first) {
    return int(player->set_matrix(segment, index, codes, count, first));
}

MMFREE_API void mmfree_set_pow2_tables(
    Player *player, const int16_t *sigmoid, const int16_t *silu, const int16_t *root) {
    static_cast<Pow2Player *>(player)->set_tables(sigmoid, silu, root);
}

MMFREE_API void mmfree_set_pow2_constants(
    Player *player, int segment, int index, int32_t multiplier, int32_t base) {
    static_cast<Pow2Player *>(player)->set_constants(segment, index, multiplier, base);
}

MMFREE_API void mmfree_set_pow2_bias(Player *player, int layer, const int16_t *bias) {
    static_cast<Pow2Player *>(player)->set_bias(layer, bias);
}

MMFREE_API void mmfree_set_absmax_tables(
    Player *player, const int32_t *values, const uint16_t *rises, const int32_t *bounds) {
    static_cast<AbsmaxPlayer *>(player)->set_tables(values, rises, bounds);
}

MMFREE_API void mmfree_set_absmax_segment(
    Player *player, int segment, const int32_t *norm, int32_t norm_fb, int64_t offset,
    int64_t exponent) {
    static_cast<AbsmaxPlayer *>(player)->set_segment(segment, norm, norm_fb, offset, exponent);
}

MMFREE_API void mmfree_set_absmax_constants(
    Player *player, int segment, int index, const int32_t *gain, int32_t gain_fb,
    int64_t mantissa, int64_t exponent) {
    static_cast<AbsmaxPlayer *>(player)->set_constants(
        segment, index, gain, gain_fb, mantissa, exponent);
}

// See Batch, with ranges or without.
MMFREE_API void mmfree_run(
    Player *player, const int32_t *tokens, int sequences, int positions, void *state,
    int32_t *logits, int32_t wanted, int64_t *ranges) {
    player->run({tokens, sequences, positions, state, logits, Wanted(wanted), ranges});
}

// Chooses rows, each fed back, up to `count` or one that `ends` [rows] marks; returns how many. The
// logits [head] are those to choose by first, and then those to go on with: of the last row only if
// it is fed back, too (`feeds_last`).
MMFREE_API int mmfree_generate(
    Player *player, Choice *choice, int32_t *logits, void *state, const uint8_t *ends, int count,
    int feeds_last, int32_t *rows) {
    for (int number = 0; number < count; number++) {
        const int32_t row = choose(*choice, logits, player->settings.head_size);
        rows[number] = row;
        const bool is_last = number == count - 1 || ends[row];
        if (!is_last || (feeds_last && !ends[row]))
            player->run({&row, 1, 1, state, logits, Wanted::LAST});
        if (is_last) return number + 1;
    }
    return count;
}

MMFREE_API void mmfree_take_saturations(Player *player, int64_t *sites) {
    std::copy_n(player->saturations, MOST_SITES, sites);
    std::fill_n(player->saturations, MOST_SITES, 0);
}

// How many of its threads work from the next call on.
MMFREE_API void mmfree_set_threads(Player *player, int threads) { player->set_threads(threads); }

MMFREE_API const void *mmfree_weights(const Player *player) { return player->pages().begin(); }
MMFREE_API uint64_t mmfree_weights_bytes(const Player *player) { return player->pages().taken(); }

// Seconds of one reading of the packed weights, by all threads.
MMFREE_API double mmfree_read_weights(Player *player) { return player->read_weights(); }

// Steps by themselves, for tests of what models seldom reach.

// cut(gate * up) of gates of at least 2^24, where SiLU is the identity.
MMFREE_API void mmfree_try_glu(
    int path, const int32_t *gate, const int32_t *up, int n, double *w) {
    static const AbsmaxTables tables = {.sigmoid = {}, .step_fb = 12, .forget_fb = 20};
    kernels_of(path).absmax_glu(tables, gate, up, w, n);
}

// q of cut elements; returned: their sum.
MMFREE_API int32_t mmfree_try_quantize(
    int path, const double *w, const int32_t *gain, int n, int8_t *q) {
    AbsmaxStatistics found;
    kernels_of(path).absmax_statistics({.w = w, .gains = {gain}, .num_gains = 1}, n, found);
    return quantize(kernels_of(path), found.largest[0], w, gain, n, q);
}

// The sum of the squares of cut elements: a mantissa and an exponent.
MMFREE_API void mmfree_try_sum(int path, const double *w, int n, int64_t *scalar) {
    const std::vector<int32_t> ones(n, 1);
    AbsmaxStatistics found;
    kernels_of(path).absmax_statistics(
        {.w = w, .gains = {ones.data()}, .num_gains = 1}, n, found);
    const Scalar sum = sum_of_squares(found.squares, n, w, nullptr, n);
    scalar[0] = sum.mantissa;
    scalar[1] = sum.exponent;
}

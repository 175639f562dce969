#include "sampler.h"

#include <algorithm>

namespace mmfree {

namespace {

constexpr int WORD_BITS = 20, INDEX_BITS = 10, NOISE_FB = 9, TEMPERATURE_FB = 6;
constexpr uint32_t ENTRIES = 1 << INDEX_BITS, WORD = (1 << WORD_BITS) - 1;
constexpr uint64_t REGISTER_B = (uint64_t(1) << 63) - 1;

// A word: both registers advanced by 20 bits, which depend on bits that were there before.
uint32_t draw(Choice &choice) {
    const uint64_t a = choice.a, b = choice.b;
    const uint64_t new_a = (a >> 44 ^ a >> 43 ^ a >> 41 ^ a >> 40) & WORD;
    const uint64_t new_b = (b >> 43 ^ b >> 42) & WORD;
    choice.a = a << WORD_BITS | new_a;
    choice.b = (b << WORD_BITS | new_b) & REGISTER_B;
    return uint32_t(new_a + new_b) & WORD;
}

int64_t noise(Choice &choice) {
    const uint32_t word = draw(choice);
    const uint32_t upper = word >> INDEX_BITS, lower = word & (ENTRIES - 1);
    const int64_t gumbel = choice.gumbel[upper == ENTRIES - 1 ? ENTRIES + lower : upper];
    return (gumbel * choice.temperature + (1 << (TEMPERATURE_FB - 1))) >> TEMPERATURE_FB;
}

int32_t largest(const int32_t *logits, int rows) {
    int32_t highest = INT32_MIN;
    for (int row = 0; row < rows; row++) highest = std::max(highest, logits[row]);
    int row = 0;
    while (logits[row] != highest) row++;
    return row;
}

}  // namespace

int32_t choose(Choice &choice, const int32_t *logits, int rows) {
    if (choice.temperature == 0 && choice.choosable == nullptr) return largest(logits, rows);
    // Both with as many fraction bits as the finer one has.
    const int logit_shift = std::max(NOISE_FB - choice.logit_fb, 0);
    const int noise_shift = std::max(choice.logit_fb - NOISE_FB, 0);
    int32_t best = -1;
    int64_t highest = 0;
    for (int row = 0; row < rows; row++) {
        // Every row draws, also one that cannot be chosen.
        const int64_t added = choice.temperature ? noise(choice) << noise_shift : 0;
        if (choice.choosable != nullptr && !choice.choosable[row]) continue;
        const int64_t key = (int64_t(logits[row]) << logit_shift) + added;
        if (best < 0 || key > highest) {
            best = row;
            highest = key;
        }
    }
    return best;
}

}  // namespace mmfree

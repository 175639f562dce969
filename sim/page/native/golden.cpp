// The fast player's plain path for one tape, one sequence at a time: it checks the chip in a page.
// There is one player; the module that holds it is made anew for another tape.
#include <algorithm>
#include <cstring>
#include <vector>

#include "pow2.h"
#include "sampler.h"

using namespace mmfree;

namespace {

Pow2Player *player;
std::vector<int16_t> *state;
std::vector<int32_t> *logits;
Choice choice;

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

// Memory for what is handed over; it is never given back.
EXPORT void *allocate(int bytes) { return new uint64_t[(bytes + 7) / 8]; }

// The settings as 32-bit words, in the order of the fields of Settings from hidden_size to
// token_shift.
EXPORT void create(const int32_t *values) {
    Settings settings = {};
    settings.threads = 1;
    std::memcpy(&settings.hidden_size, values, 11 * sizeof *values);
    player = static_cast<Pow2Player *>(make_pow2_player(settings, plain_kernels).release());
    const size_t layer = settings.hidden_size + 2 * settings.token_shift;
    state = new std::vector<int16_t>(settings.num_layers * layer);
    logits = new std::vector<int32_t>(settings.head_size);
}

EXPORT void set_embedding(const int8_t *rows) { player->set_embedding(rows, nullptr); }

EXPORT void set_tables(const int16_t *sigmoid, const int16_t *silu, const int16_t *root) {
    player->set_tables(sigmoid, silu, root);
}

// Codes as in a tape: five weights a byte. 0, or why they are none.
EXPORT int set_matrix(
    int segment, int index, const uint8_t *codes, int count, int multiplier, int base) {
    player->set_constants(segment, index, multiplier, base);
    return int(player->set_matrix(segment, index, codes, count, 0));
}

EXPORT void set_bias(int layer, const int16_t *bias) { player->set_bias(layer, bias); }

// Noise and its registers; logit_fb: fraction bits of the logits.
EXPORT void set_noise(const int32_t *gumbel, int logit_fb) {
    choice.gumbel = gumbel;
    choice.logit_fb = logit_fb;
}
EXPORT void seed(uint64_t a, uint64_t b) {
    choice.a = a;
    choice.b = b;
}

// The state begins anew.
EXPORT void begin() { std::fill(state->begin(), state->end(), 0); }

// Plays a token; returns the row chosen by its logits, at a temperature in 64ths.
EXPORT int play(int token, int temperature) {
    player->run({&token, 1, 1, state->data(), logits->data(), Wanted::LAST});
    choice.temperature = temperature;
    return choose(choice, logits->data(), player->settings.head_size);
}

EXPORT int16_t *state_words() { return state->data(); }
EXPORT int32_t *last_logits() { return logits->data(); }

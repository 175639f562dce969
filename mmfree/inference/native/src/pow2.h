// Tapes of models trained here (docs/arithmetic.md).
#pragma once

#include "player.h"

namespace mmfree {

struct Pow2Constants {
    int32_t multiplier;
    int32_t base;  // of the shift: e
    int32_t low, high;
    bool is_wide;  // products beyond 32 bits
};

class Pow2Player : public Player {
public:
    Pow2Player(const Settings &, const Kernels &);

    void set_embedding(const int8_t *rows, const uint16_t *) override { embedding_ = rows; }
    void set_tables(const int16_t *sigmoid, const int16_t *silu, const int16_t *reciprocal_root);
    void set_constants(int segment, int index, int32_t multiplier, int32_t base);
    void set_bias(int layer, const int16_t *bias);

protected:
    std::unique_ptr<Player> copy() const override;
    void play(
        int thread, const Position *positions, int count, int64_t num_sequences, void *state,
        Counts &counts) override;

private:
    enum class Reader { GATES, GLU };

    // What a thread knows of the vectors that are multiplied.
    struct Reading {
        std::vector<int8_t> q;
        int32_t minus[MOST_POSITIONS], root[MOST_POSITIONS], exponent[MOST_POSITIONS];
    };

    void read(
        int thread, int segment, const int16_t *vectors, int n, int count, Counts &counts);
    void project(
        int thread, int segment, int index, int count, int place, int32_t *out, int stride,
        Counts &counts);
    void shift_tokens(
        int thread, const Position *positions, int count, int64_t num_sequences, void *state,
        int layer, Reader reader);
    // A layer's words of state of a sequence: x as the gates read it before, h, x as the GLU did.
    int16_t *state_of(void *state, int layer, int64_t num_sequences, int64_t sequence) const;
    const int16_t *shifted() const { return (settings.token_shift ? shifted_ : x_).data(); }
    void add_to_residual(int thread, int segment, int count, Counts &counts);

    const int8_t *embedding_ = nullptr;
    Pow2Tables tables_;
    int32_t reciprocal_root_[256];
    std::vector<std::vector<Pow2Constants>> constants_;
    std::vector<std::vector<int32_t>> biases_;
    std::vector<int16_t> x_, u_, shifted_;
    std::vector<Reading> readings_;
};

}  // namespace mmfree

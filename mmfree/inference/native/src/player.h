// A tape, ready to be played: what both arithmetics share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "kernels.h"
#include "pool.h"
#include "weights.h"

namespace mmfree {

constexpr int MOST_SITES = 7;   // of saturations
constexpr int MOST_RANGES = 6;  // of values of a segment, in the order of their use

// What decides a player; mmfree/inference/native/library.py has the same fields.
struct Settings {
    int32_t arithmetic;  // 0 pow2, 1 absmax
    int32_t path;
    int32_t threads;
    int32_t hidden_size, intermediate_size, num_layers, vocab_size, head_size;
    int32_t embedding_shift;  // pow2: to the left; absmax: to the right, if it is positive
    int32_t forget_fb;
    // pow2
    int32_t gate, index_shift, product_shift, token_shift;
    // absmax
    int32_t residual_fb, activation_fb, logit_fb;
    int64_t eps_mantissa, eps_exponent;  // of a projection's own norm
};

// One position of one sequence.
struct Position {
    int32_t token;
    int64_t sequence;
    int32_t *logits;  // nullptr: not wanted
};

enum class Wanted : int32_t { NOTHING, LAST, ALL };

// Sequences to play. tokens [sequences, positions]; state [layers, sequences, words of a layer] is
// changed in place; logits [sequences, positions, head] or, of the last position only, [sequences, head].
struct Batch {
    const int32_t *tokens;
    int sequences, positions;
    void *state;
    int32_t *logits;
    Wanted wanted;
    int64_t *ranges = nullptr;  // pow2: [segments * MOST_RANGES + 1][2], see Range; the embedding last
};

// Of some values: their largest magnitude, and how many lie at a limit of their width.
struct Range {
    int64_t largest = 0, at_limit = 0;

    template <class Value>
    void add(const Value *values, int n, int32_t low, int32_t high) {
        for (int j = 0; j < n; j++) {
            largest = std::max<int64_t>(largest, std::abs(int64_t(values[j])));
            at_limit += values[j] <= low || values[j] >= high;
        }
    }
};

// What a thread counts while it plays, away from the others. Ranges only if they are wanted.
struct alignas(64) Counts {
    int64_t saturations[MOST_SITES] = {};
    std::vector<Range> ranges;

    template <class Value>
    void note(int segment, int place, const Value *values, int n, int32_t low, int32_t high) {
        if (!ranges.empty()) ranges[segment * MOST_RANGES + place].add(values, n, low, high);
    }
};

// Which of a vector's or a matrix's groups of rows a thread owns.
struct Share {
    int begin, end;        // groups
    int first, last;       // elements, first..last - 1
    int count() const { return last - first; }
};

class Player {
public:
    virtual ~Player() = default;

    // The threads share every matrix; or, if there are sequences enough, each plays its own.
    void run(const Batch &);

    virtual void set_embedding(const int8_t *rows, const uint16_t *scales) = 0;
    Packing set_matrix(int segment, int index, const uint8_t *codes, int64_t count, int64_t first) {
        return segments_[segment][index].pack(codes, count, first);
    }

    void set_threads(int threads) { pool_.set_threads(threads); }

    // Seconds that all threads need to read the packed weights, and do nothing with them.
    double read_weights();

    const Settings settings;
    int64_t saturations[MOST_SITES] = {};
    const Pages &pages() const { return *pages_; }

protected:
    explicit Player(const Settings &, const Kernels &);
    // Another one for a single thread, of the same weights.
    Player(const Player &);
    virtual std::unique_ptr<Player> copy() const = 0;

    // What one thread does of a pass; `positions` of them, of `num_sequences` in the state.
    virtual void play(
        int thread, const Position *positions, int count, int64_t num_sequences, void *state,
        Counts &counts) = 0;

    Share share(int size, int thread) const;
    // Sums of a matrix's rows of a thread, for `count` positions, each `stride` after the one before:
    // sum_stride_ at sums(thread, which), or head_stride() at head_sums(thread).
    void take_product(
        const Matrix &, const Share &, const int8_t *activations, const int32_t *minus, int count,
        int32_t *sums, int stride) const;
    int32_t *sums(int thread, int which) {
        return sums_[thread].data() + size_t(which) * MOST_POSITIONS * sum_stride_;
    }
    int head_stride(int thread) const;
    int32_t *head_sums(int thread);

    const Kernels &kernels_;
    Pool pool_;
    std::vector<std::vector<Matrix>> segments_;  // gates, output, glu, down of each layer; head
    int activation_stride_, sum_stride_;

private:
    void play_sequences(int thread, const Batch &, int first, int last, Counts &counts);
    bool play_apart(const Batch &) const;
    bool make_copies();

    std::unique_ptr<Pages> pages_;  // not of a copy, which its original outlives
    std::vector<std::vector<int32_t>> sums_, head_sums_;
    std::vector<std::unique_ptr<Player>> copies_;  // one for each thread, made when first needed
};

std::unique_ptr<Player> make_pow2_player(const Settings &, const Kernels &);
std::unique_ptr<Player> make_absmax_player(const Settings &, const Kernels &);

}  // namespace mmfree

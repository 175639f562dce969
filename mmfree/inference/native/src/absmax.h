// Tapes of published checkpoints (docs/arithmetic_absmax.md).
#pragma once

#include "player.h"
#include "scalars.h"

namespace mmfree {

struct Gain {
    std::vector<int32_t> values;
    int32_t fb = 0;
};

struct AbsmaxMatrixConstants {
    Gain gain;
    Scalar constant;
};

struct AbsmaxSegmentConstants {
    Gain norm;  // empty: none
    Scalar offset;
    std::vector<AbsmaxMatrixConstants> matrices;
};

// The sum of the squares of cut elements, times gains if there are any, of which `found` is the sum
// in float64: exact, and cut to 31 bits.
Scalar sum_of_squares(
    double found, int64_t additions, const double *values, const int32_t *gains, int n);

// Section 7, of elements of a vector with this largest |w * gain|; returned: their sum.
int32_t quantize(
    const Kernels &, double largest, const double *w, const int32_t *gain, int n, int8_t *q);

class AbsmaxPlayer : public Player {
public:
    AbsmaxPlayer(const Settings &, const Kernels &);

    void set_embedding(const int8_t *rows, const uint16_t *scales) override {
        embedding_ = rows;
        embedding_scales_ = scales;
    }
    void set_tables(const int32_t *values, const uint16_t *rises, const int32_t *bounds);
    void set_segment(
        int segment, const int32_t *norm, int32_t norm_fb, int64_t offset, int64_t exponent);
    void set_constants(
        int segment, int index, const int32_t *gain, int32_t gain_fb, int64_t mantissa,
        int64_t exponent);

protected:
    std::unique_ptr<Player> copy() const override;
    void play(
        int thread, const Position *positions, int count, int64_t num_sequences, void *state,
        Counts &counts) override;

private:
    // What threads tell one another of their shares of the vectors.
    struct alignas(64) Told {
        AbsmaxStatistics statistics[MOST_POSITIONS];
        int32_t sums[MOST_GAINS][MOST_POSITIONS];
    };
    // What multiplies the sums of a matrix, and what they are shifted by.
    struct Scale {
        int32_t minus[MOST_POSITIONS];
        double factor[MOST_POSITIONS];
        int shift[MOST_POSITIONS];
    };
    // What a thread makes of all that was told.
    struct Reading {
        Root root[MOST_POSITIONS];
        double largest[MOST_GAINS][MOST_POSITIONS];
        Scale scale[MOST_GAINS];
    };

    AbsmaxVector vector_of(int segment, int position, int n, int first) const;
    void tell(int thread, int segment, int count);
    void read(int thread, int segment, int count, int output_fb);
    void project(
        int thread, int segment, int matrix, int gain, int count, int32_t *out,
        int64_t &saturated);
    void add_to_residual(int thread, int segment, int count, int64_t *saturations);
    int fan_in(int segment) const { return segments_[segment][0].columns; }
    int w_fb(int segment) const {
        return segment % 2 ? 2 * settings.activation_fb : settings.residual_fb;
    }

    const int8_t *embedding_ = nullptr;
    const uint16_t *embedding_scales_ = nullptr;
    AbsmaxTables tables_;
    Scalar eps_;
    std::vector<std::vector<int32_t>> bounds_;
    std::vector<AbsmaxSegmentConstants> constants_;
    std::vector<int32_t> x_;
    std::vector<double> w_, base_;
    std::vector<int8_t> q_[MOST_GAINS];
    std::vector<Told> told_;
    std::vector<Reading> readings_;
};

}  // namespace mmfree

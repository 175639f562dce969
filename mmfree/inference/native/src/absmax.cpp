#include "absmax.h"

#include <algorithm>
#include <cstring>

#include "cuts.h"

namespace mmfree {

namespace {

enum Site { PROJECTION, RESIDUAL, LOGIT };

constexpr int CUT_BITS = 28;

Scalar scaled(Scalar value, int64_t power) {
    return value.mantissa ? Scalar{value.mantissa, value.exponent + power} : value;
}

}  // namespace

Scalar sum_of_squares(
    double found, int64_t additions, const double *values, const int32_t *gains, int n) {
    if (is_certain(found, additions)) return scalar_of(found);
    ExactSum sum;
    for (int j = 0; j < n; j++)
        sum.add_square(rounded(gains ? cut(values[j] * gains[j]) : values[j]));
    return sum.cut();
}

int32_t quantize(
    const Kernels &kernels, double largest, const double *w, const int32_t *gain, int n,
    int8_t *q) {
    largest = cut(largest);
    if (largest == 0) {
        std::memset(q, 0, n);
        return 0;
    }
    // 2^27 to 2^28 - 1 of the largest.
    const int exponent = int(bits_of(largest) >> 52) - 1023;
    const double align = std::ldexp(1, CUT_BITS - 1 - exponent);
    return kernels.absmax_quantize(w, gain, n, align, 127 / (largest * align), q);
}

AbsmaxPlayer::AbsmaxPlayer(const Settings &settings, const Kernels &kernels)
    : Player(settings, kernels), eps_{settings.eps_mantissa, settings.eps_exponent} {
    for (const auto &matrices : segments_) {
        AbsmaxSegmentConstants constants;
        constants.matrices.resize(matrices.size());
        constants_.push_back(constants);
    }
    const size_t d = settings.hidden_size;
    const size_t widest = std::max(settings.hidden_size, settings.intermediate_size);
    x_.resize(MOST_POSITIONS * d);
    base_.resize(MOST_POSITIONS * d);
    w_.resize(MOST_POSITIONS * widest);
    for (auto &q : q_) q.resize(size_t(MOST_POSITIONS) * activation_stride_);
    told_.resize(settings.threads);
    readings_.resize(settings.threads);
    tables_.step_fb = settings.activation_fb - 8;
    tables_.forget_fb = settings.forget_fb;
}

void AbsmaxPlayer::set_tables(
    const int32_t *values, const uint16_t *rises, const int32_t *bounds) {
    std::copy_n(values, SIGMOID_ENTRIES, tables_.sigmoid);
    std::copy_n(rises, SIGMOID_ENTRIES, tables_.sigmoid + SIGMOID_ENTRIES);
    const int d = settings.hidden_size;
    for (int layer = 0; layer < settings.num_layers; layer++)
        bounds_.emplace_back(bounds + size_t(layer) * d, bounds + size_t(layer + 1) * d);
}

void AbsmaxPlayer::set_segment(
    int segment, const int32_t *norm, int32_t norm_fb, int64_t offset, int64_t exponent) {
    if (norm != nullptr) constants_[segment].norm.values.assign(norm, norm + fan_in(segment));
    constants_[segment].norm.fb = norm_fb;
    constants_[segment].offset = scalar(offset, exponent);
}

void AbsmaxPlayer::set_constants(
    int segment, int index, const int32_t *gain, int32_t gain_fb, int64_t mantissa,
    int64_t exponent) {
    AbsmaxMatrixConstants &constants = constants_[segment].matrices[index];
    constants.gain.values.assign(gain, gain + fan_in(segment));
    constants.gain.fb = gain_fb;
    constants.constant = scalar(mantissa, exponent);
}

// The vector that a segment reads, from an element on. Of the output the base is g, of down there is
// none, of the others it is w itself.
AbsmaxVector AbsmaxPlayer::vector_of(int segment, int position, int n, int first) const {
    const AbsmaxSegmentConstants &constants = constants_[segment];
    AbsmaxVector vector = {};
    vector.w = w_.data() + size_t(position) * n + first;
    if (!constants.norm.values.empty()) {
        vector.norm = constants.norm.values.data() + first;
        vector.base = segment % 4 == 1 ? base_.data() + size_t(position) * n + first : vector.w;
    }
    // gate and up are rows of one matrix, with one gain.
    vector.num_gains = constants.matrices.size() == 3 ? 3 : 1;
    for (int k = 0; k < vector.num_gains; k++)
        vector.gains[k] = constants.matrices[k].gain.values.data() + first;
    return vector;
}

// Sections 3 and 5, of the thread's own share of the next segment's vectors.
void AbsmaxPlayer::tell(int thread, int segment, int count) {
    const int n = fan_in(segment);
    const Share own = share(n, thread);
    for (int p = 0; p < count; p++)
        kernels_.absmax_statistics(
            vector_of(segment, p, n, own.first), own.count(), told_[thread].statistics[p]);
}

// Sections 6 to 8: the roots and scales of the vectors, and the thread's own share of q. Between two
// barriers; another thread's share of q is there after the second.
void AbsmaxPlayer::read(int thread, int segment, int count, int output_fb) {
    pool_.barrier();
    const AbsmaxSegmentConstants &constants = constants_[segment];
    Reading &reading = readings_[thread];
    const int n = fan_in(segment), fb = w_fb(segment), threads = pool_.threads();
    const int base_fb = segment % 4 == 1 ? settings.activation_fb : fb;
    const Share own = share(n, thread);
    const int num_gains = constants.matrices.size() == 3 ? 3 : 1;
    for (int p = 0; p < count; p++) {
        AbsmaxStatistics all = told_[0].statistics[p];
        for (int t = 1; t < threads; t++) {
            const AbsmaxStatistics &part = told_[t].statistics[p];
            for (int k = 0; k < num_gains; k++)
                all.largest[k] = std::max(all.largest[k], part.largest[k]);
            all.squares += part.squares;
            all.base_squares += part.base_squares;
        }
        const AbsmaxVector vector = vector_of(segment, p, n, 0);
        const auto sum = [&](double found, const double *values, const int32_t *gains, int fb) {
            return scaled(sum_of_squares(found, n + threads, values, gains, n), -2 * fb);
        };
        Scalar inner;
        if (vector.norm != nullptr) {
            inner = sum(all.squares, vector.w, vector.norm, fb + constants.norm.fb);
            const Scalar base = sum(all.base_squares, vector.base, nullptr, base_fb);
            inner = add(inner, multiply(eps_, base));
        } else {
            inner = sum(all.squares, vector.w, nullptr, fb);
        }
        reading.root[p] = reciprocal_root(add(inner, constants.offset));
        for (int k = 0; k < num_gains; k++) {
            reading.largest[k][p] = cut(all.largest[k]);
            int8_t *q = q_[k].data() + size_t(p) * activation_stride_;
            told_[thread].sums[k][p] = quantize(
                kernels_, all.largest[k], vector.w + own.first, vector.gains[k] + own.first,
                own.count(), q + own.first);
            if (own.last == n)
                std::memset(q + n, 0, whole(n, BLOCK_COLUMNS) * BLOCK_COLUMNS - n);
        }
    }
    for (int k = 0; k < num_gains; k++)
        for (int p = 0; p < count; p++) {
            const AbsmaxMatrixConstants &matrix = constants.matrices[k];
            const Factor found =
                factor(matrix.constant, reading.root[p], scalar_of(reading.largest[k][p]));
            const int64_t shift = int64_t(fb) + matrix.gain.fb - output_fb - found.exponent;
            reading.scale[k].factor[p] = double(found.factor);
            reading.scale[k].shift[p] =
                int(std::clamp<int64_t>(shift, 0, LARGEST_SHIFT));
        }
    pool_.barrier();
    for (int k = 0; k < num_gains; k++)
        for (int p = 0; p < count; p++) {
            int32_t sum = 0;
            for (int t = 0; t < threads; t++) sum += told_[t].sums[k][p];
            reading.scale[k].minus[p] = -sum;
        }
}

void AbsmaxPlayer::project(
    int thread, int segment, int matrix, int gain, int count, int32_t *out, int64_t &saturated) {
    const Scale &scale = readings_[thread].scale[gain];
    const Share own = share(segments_[segment][matrix].rows, thread);
    take_product(segments_[segment][matrix], own, q_[gain].data(), scale.minus, count, out, sum_stride_);
    for (int p = 0; p < count; p++)
        saturated += kernels_.absmax_requantize(
            out + size_t(p) * sum_stride_, own.count(), scale.factor[p], scale.shift[p]);
}

void AbsmaxPlayer::add_to_residual(int thread, int segment, int count, int64_t *saturations) {
    const int d = settings.hidden_size;
    const Share own = share(d, thread);
    int32_t *y = sums(thread, 0);
    read(thread, segment, count, settings.residual_fb);
    project(thread, segment, 0, 0, count, y, saturations[PROJECTION]);
    for (int p = 0; p < count; p++)
        saturations[RESIDUAL] += kernels_.absmax_add(
            x_.data() + size_t(p) * d + own.first, y + size_t(p) * sum_stride_,
            w_.data() + size_t(p) * d + own.first, own.count());
    tell(thread, segment + 1, count);
}

void AbsmaxPlayer::play(
    int thread, const Position *positions, int count, int64_t num_sequences, void *state,
    Counts &counts) {
    int64_t *saturations = counts.saturations;
    const int d = settings.hidden_size, intermediate = settings.intermediate_size;
    const Share own = share(d, thread), wide = share(intermediate, thread);
    int32_t *first = sums(thread, 0), *second = sums(thread, 1), *third = sums(thread, 2);
    const int right = std::max(settings.embedding_shift, 0);
    const int left = std::max(-settings.embedding_shift, 0);
    for (int p = 0; p < count; p++) {
        const int8_t *row = embedding_ + size_t(positions[p].token) * d;
        const int64_t scale = embedding_scales_[positions[p].token];
        int32_t *x = x_.data() + size_t(p) * d;
        for (int j = own.first; j < own.last; j++)
            x[j] = int32_t(((row[j] * scale << left) + (int64_t(1) << right >> 1)) >> right);
        kernels_.absmax_cut(x + own.first, own.count(), w_.data() + size_t(p) * d + own.first);
    }
    tell(thread, 0, count);
    for (int layer = 0; layer < settings.num_layers; layer++) {
        const int segment = 4 * layer;
        read(thread, segment, count, settings.activation_fb);
        project(thread, segment, 0, 0, count, first, saturations[PROJECTION]);
        project(thread, segment, 1, 1, count, second, saturations[PROJECTION]);
        project(thread, segment, 2, 2, count, third, saturations[PROJECTION]);
        for (int p = 0; p < count; p++) {
            const size_t at = size_t(p) * sum_stride_, to = size_t(p) * d + own.first;
            int32_t *h = static_cast<int32_t *>(state)
                + (size_t(layer) * num_sequences + positions[p].sequence) * d + own.first;
            kernels_.absmax_mix(
                tables_, first + at, second + at, third + at, bounds_[layer].data() + own.first,
                h, w_.data() + to, base_.data() + to, own.count());
        }
        tell(thread, segment + 1, count);
        add_to_residual(thread, segment + 1, count, saturations);
        read(thread, segment + 2, count, settings.activation_fb);
        project(thread, segment + 2, 0, 0, count, first, saturations[PROJECTION]);
        project(thread, segment + 2, 1, 0, count, second, saturations[PROJECTION]);
        for (int p = 0; p < count; p++) {
            const size_t at = size_t(p) * sum_stride_;
            kernels_.absmax_glu(
                tables_, first + at, second + at,
                w_.data() + size_t(p) * intermediate + wide.first, wide.count());
        }
        tell(thread, segment + 3, count);
        add_to_residual(thread, segment + 3, count, saturations);
    }
    const int head = 4 * settings.num_layers;
    const Share rows = share(settings.head_size, thread);
    // Those whose logits are wanted come last.
    int from = 0;
    while (from < count && positions[from].logits == nullptr) from++;
    if (from == count) return;
    read(thread, head, count, settings.logit_fb);
    const Scale &scale = readings_[thread].scale[0];
    const int stride = head_stride(thread);
    int32_t *logits = head_sums(thread);
    take_product(
        segments_[head][0], rows, q_[0].data() + size_t(from) * activation_stride_,
        scale.minus + from, count - from, logits, stride);
    for (int p = from; p < count; p++) {
        int32_t *found = logits + size_t(p - from) * stride;
        saturations[LOGIT] += kernels_.absmax_requantize(
            found, rows.count(), scale.factor[p], scale.shift[p]);
        std::copy_n(found, rows.count(), positions[p].logits + rows.first);
    }
}

std::unique_ptr<Player> AbsmaxPlayer::copy() const {
    auto made = std::make_unique<AbsmaxPlayer>(*this);
    made->told_.resize(1);
    made->told_.shrink_to_fit();
    made->readings_.resize(1);
    made->readings_.shrink_to_fit();
    return made;
}

std::unique_ptr<Player> make_absmax_player(const Settings &settings, const Kernels &kernels) {
    return std::make_unique<AbsmaxPlayer>(settings, kernels);
}

}  // namespace mmfree

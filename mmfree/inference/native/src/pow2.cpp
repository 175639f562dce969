#include "pow2.h"

#include <algorithm>
#include <cstring>

#include "scalars.h"

namespace mmfree {

namespace {

// The order of the contract, section 16.
enum Site { QUANTIZER, PROJECTION, GATE, STATE, PRODUCT, RESIDUAL, LOGIT };

// Places of ranges in a segment: q, sums, and then i, g, h, u; y, x; gate, up, u; logits.
enum Place { QUANTIZED, SUM, FIRST, SECOND, NEW_STATE, GATED };
constexpr int RESIDUAL_SUM = 3, GLU_PRODUCT = 4, NOT_NOTED = -1;

constexpr int SMALLEST_EXPONENT = 6;

// 128 * fan_in * 510 and a half step stay below 2^31 up to here.
constexpr int NARROW_FAN_IN = 30000;

}  // namespace

Pow2Player::Pow2Player(const Settings &settings, const Kernels &kernels)
    : Player(settings, kernels), biases_(settings.num_layers) {
    for (const auto &matrices : segments_) constants_.emplace_back(matrices.size());
    const size_t widest = std::max(settings.hidden_size, settings.intermediate_size);
    x_.resize(MOST_POSITIONS * size_t(settings.hidden_size));
    if (settings.token_shift) shifted_.resize(x_.size());
    u_.resize(MOST_POSITIONS * widest);
    readings_.resize(settings.threads);
    for (Reading &reading : readings_)
        reading.q.resize(size_t(MOST_POSITIONS) * activation_stride_);
    tables_.gate = settings.gate;
    tables_.forget_fb = settings.forget_fb;
    tables_.index_shift = settings.index_shift;
    tables_.product_shift = settings.product_shift;
}

void Pow2Player::set_tables(
    const int16_t *sigmoid, const int16_t *silu, const int16_t *reciprocal_root) {
    std::copy_n(sigmoid, 256, tables_.sigmoid);
    std::copy_n(silu, 256, tables_.silu);
    std::copy_n(reciprocal_root, 256, reciprocal_root_);
}

void Pow2Player::set_constants(int segment, int index, int32_t multiplier, int32_t base) {
    const int kind = segment % 4;
    // i, f, g and gate, up; of f 16 bits, as of o, down and the head.
    const bool is_head = segment == 4 * settings.num_layers;
    const bool is_byte = !is_head && ((kind == 0 && index != 1) || kind == 2);
    constants_[segment][index] = {
        multiplier, base, is_byte ? -128 : -32768, is_byte ? 127 : 32767,
        segments_[segment][index].columns > NARROW_FAN_IN};
}

void Pow2Player::set_bias(int layer, const int16_t *bias) {
    biases_[layer].assign(bias, bias + settings.hidden_size);
}

// Sections 5 and 6. Every thread does it for itself: it takes less than another barrier.
void Pow2Player::read(
    int thread, int segment, const int16_t *vectors, int n, int count, Counts &counts) {
    Reading &reading = readings_[thread];
    for (int p = 0; p < count; p++) {
        const int16_t *u = vectors + size_t(p) * n;
        int8_t *q = reading.q.data() + size_t(p) * activation_stride_;
        const int shift = 15 - bit_length(uint64_t(kernels_.pow2_fold(u, n)));
        const Pow2Quantized found = kernels_.pow2_quantize(u, n, shift, q);
        std::memset(q + n, 0, whole(n, BLOCK_COLUMNS) * BLOCK_COLUMNS - n);
        const int32_t squares = found.squares ? found.squares : 4096;
        const int k = std::max((bit_length(uint64_t(squares)) - 1) >> 1, SMALLEST_EXPONENT);
        reading.minus[p] = -found.sum;
        reading.root[p] = reciprocal_root_[squares >> (2 * k - 6)];
        reading.exponent[p] = k;
        if (thread > 0) continue;
        counts.saturations[QUANTIZER] += found.saturated;
        counts.note(segment, QUANTIZED, q, n, -128, 127);
    }
}

// Section 7: the thread's own rows of a matrix, noted at `place`.
void Pow2Player::project(
    int thread, int segment, int index, int count, int place, int32_t *out, int stride,
    Counts &counts) {
    const Matrix &matrix = segments_[segment][index];
    const Pow2Constants &constants = constants_[segment][index];
    const Reading &reading = readings_[thread];
    const Share own = share(matrix.rows, thread);
    take_product(matrix, own, reading.q.data(), reading.minus, count, out, stride);
    const int32_t largest = 128 * matrix.columns;
    const bool is_head = segment == 4 * settings.num_layers;
    for (int p = 0; p < count; p++) {
        int32_t *sums = out + size_t(p) * stride;
        counts.note(segment, SUM, sums, own.count(), -largest, largest);
        counts.saturations[is_head ? LOGIT : PROJECTION] += kernels_.pow2_requantize(
            sums, own.count(), (reading.root[p] * constants.multiplier + 64) >> 7,
            constants.base + reading.exponent[p], constants.low, constants.high,
            constants.is_wide);
        if (place != NOT_NOTED)
            counts.note(segment, place, sums, own.count(), constants.low, constants.high);
    }
}

int16_t *Pow2Player::state_of(
    void *state, int layer, int64_t num_sequences, int64_t sequence) const {
    const size_t words = settings.hidden_size + 2 * settings.token_shift;
    return static_cast<int16_t *>(state) + (size_t(layer) * num_sequences + sequence) * words;
}

// Section 19: of the thread's own channels, the first from the position before, as soon as x is
// there. A sequence's positions are in order.
void Pow2Player::shift_tokens(
    int thread, const Position *positions, int count, int64_t num_sequences, void *state, int layer,
    Reader reader) {
    const int d = settings.hidden_size, shift = settings.token_shift;
    if (!shift) return;
    const Share own = share(d, thread);
    for (int p = 0; p < count; p++) {
        int16_t *kept = state_of(state, layer, num_sequences, positions[p].sequence)
            + (reader == Reader::GLU ? shift + d : 0);
        const int16_t *x = x_.data() + size_t(p) * d;
        int16_t *out = shifted_.data() + size_t(p) * d;
        for (int j = own.first; j < std::min(own.last, shift); j++) {
            out[j] = kept[j];
            kept[j] = x[j];
        }
        for (int j = std::max(own.first, shift); j < own.last; j++) out[j] = x[j];
    }
}

void Pow2Player::add_to_residual(int thread, int segment, int count, Counts &counts) {
    const int d = settings.hidden_size;
    const Share own = share(d, thread);
    int32_t *y = sums(thread, 0);
    project(thread, segment, 0, count, FIRST, y, sum_stride_, counts);
    for (int p = 0; p < count; p++) {
        int16_t *x = x_.data() + size_t(p) * d + own.first;
        counts.saturations[RESIDUAL] +=
            kernels_.pow2_add(x, y + size_t(p) * sum_stride_, own.count());
        counts.note(segment, RESIDUAL_SUM, x, own.count(), INT16_MIN, INT16_MAX);
    }
}

void Pow2Player::play(
    int thread, const Position *positions, int count, int64_t num_sequences, void *state,
    Counts &counts) {
    const int d = settings.hidden_size, intermediate = settings.intermediate_size;
    const Share own = share(d, thread), wide = share(intermediate, thread);
    int32_t *first = sums(thread, 0), *second = sums(thread, 1), *third = sums(thread, 2);
    for (int p = 0; p < count; p++) {
        const int8_t *row = embedding_ + size_t(positions[p].token) * d;
        int16_t *x = x_.data() + size_t(p) * d;
        for (int j = own.first; j < own.last; j++)
            x[j] = int16_t(row[j] * (1 << settings.embedding_shift));
        counts.note(int(segments_.size()), 0, x + own.first, own.count(), INT16_MIN, INT16_MAX);
    }
    shift_tokens(thread, positions, count, num_sequences, state, 0, Reader::GATES);
    pool_.barrier();
    for (int layer = 0; layer < settings.num_layers; layer++) {
        const int segment = 4 * layer;
        read(thread, segment, shifted(), d, count, counts);
        project(thread, segment, 0, count, FIRST, first, sum_stride_, counts);
        project(thread, segment, 1, count, NOT_NOTED, second, sum_stride_, counts);
        project(thread, segment, 2, count, SECOND, third, sum_stride_, counts);
        for (int p = 0; p < count; p++) {
            const size_t at = size_t(p) * sum_stride_;
            int16_t *h = state_of(state, layer, num_sequences, positions[p].sequence)
                + settings.token_shift + own.first;
            int16_t *u = u_.data() + size_t(p) * d + own.first;
            const Pow2MixCounts found = kernels_.pow2_mix(
                tables_, first + at, second + at, third + at, biases_[layer].data() + own.first,
                h, u, own.count());
            counts.saturations[GATE] += found.gate;
            counts.saturations[STATE] += found.state;
            counts.saturations[PRODUCT] += found.product;
            counts.note(segment, NEW_STATE, h, own.count(), INT16_MIN, INT16_MAX);
            counts.note(segment, GATED, u, own.count(), INT16_MIN, INT16_MAX);
        }
        pool_.barrier();
        read(thread, segment + 1, u_.data(), d, count, counts);
        add_to_residual(thread, segment + 1, count, counts);
        shift_tokens(thread, positions, count, num_sequences, state, layer, Reader::GLU);
        pool_.barrier();
        read(thread, segment + 2, shifted(), d, count, counts);
        project(thread, segment + 2, 0, count, FIRST, first, sum_stride_, counts);
        project(thread, segment + 2, 1, count, SECOND, second, sum_stride_, counts);
        for (int p = 0; p < count; p++) {
            const size_t at = size_t(p) * sum_stride_;
            int16_t *u = u_.data() + size_t(p) * intermediate + wide.first;
            counts.saturations[PRODUCT] +=
                kernels_.pow2_glu(tables_, first + at, second + at, u, wide.count());
            counts.note(segment + 2, GLU_PRODUCT, u, wide.count(), INT16_MIN, INT16_MAX);
        }
        pool_.barrier();
        read(thread, segment + 3, u_.data(), intermediate, count, counts);
        add_to_residual(thread, segment + 3, count, counts);
        if (layer + 1 < settings.num_layers)
            shift_tokens(thread, positions, count, num_sequences, state, layer + 1, Reader::GATES);
        pool_.barrier();
    }
    // Those whose logits are wanted come last.
    int from = 0;
    while (from < count && positions[from].logits == nullptr) from++;
    if (from < count) {
        const int head = 4 * settings.num_layers;
        const Share rows = share(settings.head_size, thread);
        const int stride = head_stride(thread);
        int32_t *logits = head_sums(thread);
        read(thread, head, x_.data() + size_t(from) * d, d, count - from, counts);
        project(thread, head, 0, count - from, FIRST, logits, stride, counts);
        for (int p = from; p < count; p++)
            std::copy_n(
                logits + size_t(p - from) * stride, rows.count(),
                positions[p].logits + rows.first);
    }
    pool_.barrier();
}

std::unique_ptr<Player> Pow2Player::copy() const {
    auto made = std::make_unique<Pow2Player>(*this);
    made->readings_.resize(1);
    made->readings_.shrink_to_fit();
    return made;
}

std::unique_ptr<Player> make_pow2_player(const Settings &settings, const Kernels &kernels) {
    return std::make_unique<Pow2Player>(settings, kernels);
}

}  // namespace mmfree

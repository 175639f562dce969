#include "player.h"

#include <algorithm>
#include <cstring>

namespace mmfree {

namespace {

// Groups of rows that stay in a core's cache while positions beyond a kernel's tile go past them.
constexpr int CACHED_GROUPS = 4;

struct Shape {
    int matrices, rows, columns;
};

std::vector<Shape> shapes_of(const Settings &s) {
    std::vector<Shape> shapes;
    for (int layer = 0; layer < s.num_layers; layer++) {
        shapes.push_back({3, s.hidden_size, s.hidden_size});
        shapes.push_back({1, s.hidden_size, s.hidden_size});
        shapes.push_back({2, s.intermediate_size, s.hidden_size});
        shapes.push_back({1, s.hidden_size, s.intermediate_size});
    }
    shapes.push_back({1, s.head_size, s.hidden_size});
    return shapes;
}

size_t bytes_of(const Settings &settings) {
    size_t bytes = 0;
    for (const Shape &shape : shapes_of(settings))
        bytes += shape.matrices * Matrix::bytes(shape.rows, shape.columns);
    return bytes;
}

}  // namespace

Player::Player(const Settings &settings, const Kernels &kernels)
    : settings(settings), kernels_(kernels), pool_(settings.threads),
      pages_(std::make_unique<Pages>(bytes_of(settings))) {
    for (const Shape &shape : shapes_of(settings)) {
        auto &matrices = segments_.emplace_back(shape.matrices);
        for (Matrix &matrix : matrices) {
            matrix.rows = shape.rows;
            matrix.columns = shape.columns;
            matrix.weights = pages_->take(Matrix::bytes(shape.rows, shape.columns));
        }
    }
    const int widest = std::max(settings.hidden_size, settings.intermediate_size);
    activation_stride_ = whole(widest, 64) * 64 + 64;
    // A single thread may have to do it all.
    sum_stride_ = GROUP_ROWS * whole(widest, GROUP_ROWS);
    for (int thread = 0; thread < pool_.size(); thread++)
        sums_.emplace_back(size_t(3) * MOST_POSITIONS * sum_stride_);
    head_sums_.resize(pool_.size());
}

Player::Player(const Player &other)
    : settings(other.settings), kernels_(other.kernels_), pool_(1), segments_(other.segments_),
      activation_stride_(other.activation_stride_), sum_stride_(other.sum_stride_),
      sums_(1, other.sums_[0]), head_sums_(1) {}

Share Player::share(int size, int thread) const {
    const int64_t groups = whole(size, GROUP_ROWS), threads = pool_.threads();
    const int begin = int(groups * thread / threads), end = int(groups * (thread + 1) / threads);
    return {begin, end, std::min(begin * GROUP_ROWS, size), std::min(end * GROUP_ROWS, size)};
}

void Player::take_product(
    const Matrix &matrix, const Share &share, const int8_t *activations, const int32_t *minus,
    int count, int32_t *sums, int stride) const {
    const int step = count == 1 ? share.end - share.begin : CACHED_GROUPS;
    for (int group = share.begin; group < share.end; group += step)
        kernels_.product({
            .weights = matrix.weights + size_t(group) * matrix.blocks() * BLOCK_BYTES,
            .groups = std::min(step, share.end - group),
            .blocks = matrix.blocks(),
            .positions = count,
            .activations = activations,
            .activation_stride = activation_stride_,
            .minus = minus,
            .sums = sums + size_t(group - share.begin) * GROUP_ROWS,
            .sum_stride = stride,
        });
}

int Player::head_stride(int thread) const {
    const Share rows = share(settings.head_size, thread);
    return (rows.end - rows.begin) * GROUP_ROWS;
}

// As large as a thread's share has been: heads may be wider than all else, and few threads have all
// of one.
int32_t *Player::head_sums(int thread) {
    std::vector<int32_t> &own = head_sums_[thread];
    const size_t needed = size_t(MOST_POSITIONS) * head_stride(thread);
    if (own.size() < needed) own.resize(needed);
    return own.data();
}

void Player::run(const Batch &batch) {
    std::vector<Counts> counts(pool_.threads());
    const size_t ranges = batch.ranges ? segments_.size() * MOST_RANGES + 1 : 0;
    for (Counts &own : counts) own.ranges.resize(ranges);
    const bool apart = play_apart(batch) && make_copies();
    pool_.run([&](int thread) {
        if (!apart) return play_sequences(thread, batch, 0, batch.sequences, counts[thread]);
        const int64_t sequences = batch.sequences, threads = pool_.threads();
        copies_[thread]->play_sequences(
            0, batch, int(sequences * thread / threads), int(sequences * (thread + 1) / threads),
            counts[thread]);
    });
    for (const Counts &own : counts) {
        for (int site = 0; site < MOST_SITES; site++) saturations[site] += own.saturations[site];
        for (size_t place = 0; place < ranges; place++) {
            int64_t *all = batch.ranges + 2 * place;
            all[0] = std::max(all[0], own.ranges[place].largest);
            all[1] += own.ranges[place].at_limit;
        }
    }
}

// Position after position, all sequences of each: a sequence's own follow one another.
void Player::play_sequences(
    int thread, const Batch &batch, int first, int last, Counts &counts) {
    const size_t head = settings.head_size;
    Position pass[MOST_POSITIONS];
    int count = 0;
    for (int place = 0; place < batch.positions; place++)
        for (int sequence = first; sequence < last; sequence++) {
            const size_t at = size_t(sequence) * batch.positions + place;
            const bool is_last = place == batch.positions - 1;
            int32_t *out = nullptr;
            if (batch.wanted == Wanted::ALL)
                out = batch.logits + at * head;
            else if (batch.wanted == Wanted::LAST && is_last)
                out = batch.logits + size_t(sequence) * head;
            pass[count++] = {batch.tokens[at], sequence, out};
            if (count == MOST_POSITIONS || (is_last && sequence == last - 1)) {
                play(thread, pass, count, batch.sequences, batch.state, counts);
                count = 0;
            }
        }
}

}  // namespace mmfree

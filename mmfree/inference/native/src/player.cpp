#include "player.h"

#include <algorithm>
#include <chrono>
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
    : settings(settings), kernels_(kernels), pool_(settings.threads), pages_(bytes_of(settings)) {
    for (const Shape &shape : shapes_of(settings)) {
        auto &matrices = segments_.emplace_back(shape.matrices);
        for (Matrix &matrix : matrices) {
            matrix.rows = shape.rows;
            matrix.columns = shape.columns;
            matrix.weights = pages_.take(Matrix::bytes(shape.rows, shape.columns));
        }
    }
    const int widest = std::max(settings.hidden_size, settings.intermediate_size);
    activation_stride_ = whole(widest, 64) * 64 + 64;
    // One thread may have to do it all.
    sum_stride_ = GROUP_ROWS * whole(std::max(widest, settings.head_size), GROUP_ROWS);
    for (int thread = 0; thread < pool_.size(); thread++)
        sums_.emplace_back(size_t(3) * MOST_POSITIONS * sum_stride_);
}

Share Player::share(int size, int thread) const {
    const int64_t groups = whole(size, GROUP_ROWS), threads = pool_.threads();
    const int begin = int(groups * thread / threads), end = int(groups * (thread + 1) / threads);
    return {begin, end, std::min(begin * GROUP_ROWS, size), std::min(end * GROUP_ROWS, size)};
}

void Player::take_product(
    const Matrix &matrix, const Share &share, const int8_t *activations, const int32_t *minus,
    int count, int32_t *sums) const {
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
            .sum_stride = sum_stride_,
        });
}

double Player::read_weights() {
    const auto start = std::chrono::steady_clock::now();
    const size_t words = pages_.taken() / sizeof(uint64_t);
    std::vector<uint64_t> found(pool_.threads());
    pool_.run([&](int thread) {
        const size_t threads = pool_.threads();
        const size_t begin = words * thread / threads, end = words * (thread + 1) / threads;
        found[thread] = kernels_.read(pages_.begin() + 8 * begin, 8 * (end - begin));
    });
    const auto end = std::chrono::steady_clock::now();
    // Used, or the compiler would leave the reading out.
    uint64_t all = 0;
    for (uint64_t own : found) all |= own;
    volatile uint64_t sink = all;
    (void)sink;
    return std::chrono::duration<double>(end - start).count();
}

void Player::run(
    const int32_t *tokens, int sequences, int positions, void *state, int32_t *logits,
    Wanted wanted) {
    const size_t head = settings.head_size;
    const int64_t total = int64_t(sequences) * positions;
    std::vector<std::vector<int64_t>> counts(
        pool_.threads(), std::vector<int64_t>(MOST_SITES));
    pool_.run([&](int thread) {
        Position pass[MOST_POSITIONS];
        // Position after position, all sequences of each: a sequence's own follow one another.
        for (int64_t done = 0; done < total;) {
            int count = 0;
            for (; count < MOST_POSITIONS && done < total; count++, done++) {
                const int64_t sequence = done % sequences, place = done / sequences;
                int32_t *out = nullptr;
                if (wanted == Wanted::ALL)
                    out = logits + (sequence * positions + place) * head;
                else if (wanted == Wanted::LAST && place == positions - 1)
                    out = logits + sequence * head;
                pass[count] = {tokens[sequence * positions + place], sequence, out};
            }
            play(thread, pass, count, sequences, state, counts[thread].data());
        }
    });
    for (const auto &own : counts)
        for (int site = 0; site < MOST_SITES; site++) saturations[site] += own[site];
}

}  // namespace mmfree

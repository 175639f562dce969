// What a player does with its threads besides sharing matrices.
#include <chrono>
#include <new>

#include "player.h"

namespace mmfree {

bool Player::play_apart(const Batch &batch) const {
    const int threads = pool_.threads();
    return threads > 1 && batch.sequences >= threads
        && int64_t(batch.sequences) * batch.positions >= int64_t(threads) * MOST_POSITIONS;
}

bool Player::make_copies() {
    try {
        while (int(copies_.size()) < pool_.size()) copies_.push_back(copy());
        return true;
    } catch (const std::bad_alloc &) {
        return false;
    }
}

double Player::read_weights() {
    const auto start = std::chrono::steady_clock::now();
    const size_t words = pages_->taken() / sizeof(uint64_t);
    std::vector<uint64_t> found(pool_.threads());
    pool_.run([&](int thread) {
        const size_t threads = pool_.threads();
        const size_t begin = words * thread / threads, end = words * (thread + 1) / threads;
        found[thread] = kernels_.read(pages_->begin() + 8 * begin, 8 * (end - begin));
    });
    const auto end = std::chrono::steady_clock::now();
    // Used, or the compiler would leave the reading out.
    uint64_t all = 0;
    for (uint64_t own : found) all |= own;
    volatile uint64_t sink = all;
    (void)sink;
    return std::chrono::duration<double>(end - start).count();
}

}  // namespace mmfree

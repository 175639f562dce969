// Threads that wait for work, and meet at barriers within it.
//
// MMFREE_ALONE: of one thread, where there are no others.
#pragma once

#if defined(MMFREE_ALONE)

namespace mmfree {

class Pool {
public:
    explicit Pool(int) {}
    int threads() const { return 1; }
    int size() const { return 1; }
    void set_threads(int) {}
    template <class Work>
    void run(const Work &work) { work(0); }
    void barrier() {}
};

}  // namespace mmfree

#else

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace mmfree {

inline void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// A number that only grows, and threads that wait until it is another one: they spin for some 50
// microseconds, and then sleep, for a partner that was put aside comes back after milliseconds.
class Turn {
public:
    uint32_t now() const { return number_.load(std::memory_order_acquire); }
    void next() {
        number_.fetch_add(1, std::memory_order_release);
        number_.notify_all();
    }
    void wait(uint32_t seen) const {
        for (int spin = 0; spin < SPINS; spin++) {
            if (now() != seen) return;
            pause();
        }
        while (now() == seen) number_.wait(seen, std::memory_order_acquire);
    }

private:
    static constexpr int SPINS = 2000;
    alignas(64) std::atomic<uint32_t> number_{0};
};

class Pool {
public:
    explicit Pool(int size);
    ~Pool();
    Pool(const Pool &) = delete;
    Pool &operator=(const Pool &) = delete;

    // Those that take part in the next run, at first all; the others sleep.
    int threads() const { return threads_; }
    int size() const { return int(others_.size()) + 1; }
    void set_threads(int threads) { threads_ = threads; }

    // Calls work(0) here and work(1..) on the others that take part; returns when all have.
    void run(const std::function<void(int)> &work);

    // Where all threads of a run wait for one another.
    void barrier() {
        // Read before this thread has arrived: once all have, the number may change.
        const int threads = threads_;
        if (threads == 1) return;
        const uint32_t seen = met_.now();
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads - 1) {
            arrived_.store(0, std::memory_order_relaxed);
            met_.next();
        } else {
            met_.wait(seen);
        }
    }

private:
    void serve(int thread);
    void end();

    int threads_;
    const std::function<void(int)> *work_ = nullptr;
    bool ends_ = false;
    std::vector<Turn> given_;  // to each of the others
    Turn met_;
    alignas(64) std::atomic<int> arrived_{0};
    std::vector<std::thread> others_;
};

}  // namespace mmfree

#endif

#include "pool.h"

namespace mmfree {

Pool::Pool(int size) : size_(size) {
    try {
        for (int thread = 1; thread < size; thread++)
            others_.emplace_back([this, thread] { serve(thread); });
    } catch (...) {
        ends_ = true;
        given_.next();
        for (std::thread &other : others_) other.join();
        throw;
    }
}

Pool::~Pool() {
    ends_ = true;
    given_.next();
    for (std::thread &other : others_) other.join();
}

void Pool::run(const std::function<void(int)> &work) {
    if (threads() == 1) return work(0);
    work_ = &work;
    given_.next();
    work(0);
    barrier();
}

void Pool::serve(int thread) {
    for (uint32_t seen = 0;; seen++) {
        given_.wait(seen);
        if (ends_) return;
        (*work_)(thread);
        barrier();
    }
}

}  // namespace mmfree

#include "pool.h"

namespace mmfree {

Pool::Pool(int size) : threads_(size), given_(size - 1) {
    try {
        for (int thread = 1; thread < size; thread++)
            others_.emplace_back([this, thread] { serve(thread); });
    } catch (...) {
        end();
        throw;
    }
}

Pool::~Pool() { end(); }

void Pool::end() {
    ends_ = true;
    for (Turn &given : given_) given.next();
    for (std::thread &other : others_) other.join();
}

void Pool::run(const std::function<void(int)> &work) {
    work_ = &work;
    for (int thread = 1; thread < threads_; thread++) given_[thread - 1].next();
    work(0);
    barrier();
}

void Pool::serve(int thread) {
    for (uint32_t seen = 0;; seen++) {
        given_[thread - 1].wait(seen);
        if (ends_) return;
        (*work_)(thread);
        barrier();
    }
}

}  // namespace mmfree

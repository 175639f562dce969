#include <sys/mman.h>

#include <new>

#include "weights.h"

namespace mmfree {

namespace {

constexpr size_t HUGE_PAGE = size_t(1) << 21;

}  // namespace

Pages::Pages(size_t bytes) : size_(whole_pages(bytes)) {
    mapped_size_ = size_ + HUGE_PAGE;
    void *mapped =
        mmap(nullptr, mapped_size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) throw std::bad_alloc();
    mapped_ = static_cast<uint8_t *>(mapped);
    begin_ = mapped_ + (HUGE_PAGE - reinterpret_cast<uintptr_t>(mapped_) % HUGE_PAGE) % HUGE_PAGE;
#if defined(MADV_HUGEPAGE)
    madvise(begin_, size_, MADV_HUGEPAGE);
#endif
}

Pages::~Pages() { munmap(mapped_, mapped_size_); }

size_t Pages::whole_pages(size_t bytes) { return (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE; }

uint8_t *Pages::take(size_t bytes) {
    uint8_t *taken = begin_ + taken_;
    taken_ += bytes;
    return taken;
}

}  // namespace mmfree

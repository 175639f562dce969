// What the player asks of an operating system and of a C++ library's compiled part, where there is
// neither: memory that only grows, and traps.
#include <cstddef>
#include <cstdint>
#include <new>

#include "player.h"

extern "C" uint8_t __heap_base;

namespace {

constexpr size_t WASM_PAGE = 1 << 16;

uint8_t *top = &__heap_base;

void *grow(size_t bytes, size_t alignment) {
    uintptr_t begin = (reinterpret_cast<uintptr_t>(top) + alignment - 1) & ~(alignment - 1);
    const uintptr_t end = begin + bytes, held = __builtin_wasm_memory_size(0) * WASM_PAGE;
    const size_t missing = end > held ? (end - held + WASM_PAGE - 1) / WASM_PAGE : 0;
    if (missing && __builtin_wasm_memory_grow(0, missing) == size_t(-1)) __builtin_trap();
    top = reinterpret_cast<uint8_t *>(end);
    return reinterpret_cast<void *>(begin);
}

}  // namespace

void *operator new(size_t bytes) { return grow(bytes, 16); }
void *operator new[](size_t bytes) { return grow(bytes, 16); }
void *operator new(size_t bytes, std::align_val_t alignment) {
    return grow(bytes, size_t(alignment));
}
void operator delete(void *) noexcept {}
void operator delete[](void *) noexcept {}
void operator delete(void *, size_t) noexcept {}
void operator delete(void *, std::align_val_t) noexcept {}
void operator delete(void *, size_t, std::align_val_t) noexcept {}

// What the library calls where it would throw.
_LIBCPP_BEGIN_NAMESPACE_STD
void __libcpp_verbose_abort(const char *, ...) noexcept { __builtin_trap(); }
_LIBCPP_END_NAMESPACE_STD

extern "C" {

void abort() { __builtin_trap(); }
void __cxa_pure_virtual() { __builtin_trap(); }
int __cxa_atexit(void (*)(void *), void *, void *) { return 0; }

}  // extern "C"

namespace mmfree {

Pages::Pages(size_t bytes)
    : mapped_(static_cast<uint8_t *>(grow(bytes, 64))), begin_(mapped_), mapped_size_(bytes),
      size_(bytes) {}

Pages::~Pages() {}

uint8_t *Pages::take(size_t bytes) {
    uint8_t *taken = begin_ + taken_;
    taken_ += bytes;
    return taken;
}

// There are no threads.
bool Player::play_apart(const Batch &) const { return false; }
bool Player::make_copies() { return false; }

}  // namespace mmfree

// Ternary weights in memory: 2 bits each, in the order of use (kernels.h has their layout).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels.h"

namespace mmfree {

inline int whole(int count, int part) { return (count + part - 1) / part; }

// Pages for all matrices, huge ones where the system has them: with small pages a core looks up
// addresses for half of its time.
class Pages {
public:
    explicit Pages(size_t bytes);
    ~Pages();
    Pages(const Pages &) = delete;
    Pages &operator=(const Pages &) = delete;

    static size_t whole_pages(size_t bytes);
    uint8_t *take(size_t bytes);
    uint8_t *begin() const { return begin_; }
    size_t taken() const { return taken_; }

private:
    uint8_t *mapped_, *begin_;
    size_t mapped_size_, size_, taken_ = 0;
};

enum class Packing { DONE, NO_CODE, PADDED_WITH_WEIGHTS };

struct Matrix {
    uint8_t *weights = nullptr;
    int rows = 0, columns = 0;

    int groups() const { return whole(rows, GROUP_ROWS); }
    int blocks() const { return whole(columns, BLOCK_COLUMNS); }
    static size_t bytes(int rows, int columns) {
        return size_t(whole(rows, GROUP_ROWS)) * whole(columns, BLOCK_COLUMNS) * BLOCK_BYTES;
    }

    // Of a tape's bytes, five weights each: `count` weights, of which this matrix has those from
    // `first` on.
    Packing pack(const uint8_t *codes, int64_t count, int64_t first);
};

}  // namespace mmfree

#include "weights.h"

#include <cstring>
#include <vector>

namespace mmfree {

namespace {

constexpr int WEIGHTS_PER_BYTE = 5;
constexpr int NUM_CODES = 243;

// The five digits of each code, a byte each: weight + 1.
struct Digits {
    uint64_t of[256];
    Digits() {
        for (int code = 0; code < 256; code++) {
            uint64_t digits = 0;
            for (int place = 0, rest = code; place < WEIGHTS_PER_BYTE; place++, rest /= 3)
                digits |= uint64_t(rest % 3) << 8 * place;
            of[code] = digits;
        }
    }
};

}  // namespace

Packing Matrix::pack(const uint8_t *codes, int64_t count, int64_t first) {
    static const Digits digits;
    const int64_t num_bytes = (count + WEIGHTS_PER_BYTE - 1) / WEIGHTS_PER_BYTE;
    for (int64_t byte = 0; byte < num_bytes; byte++)
        if (codes[byte] >= NUM_CODES) return Packing::NO_CODE;
    // A row may begin and end within a byte; the last store reaches beyond it.
    const int width = blocks() * BLOCK_COLUMNS;
    std::vector<uint8_t> row(width + 3 * WEIGHTS_PER_BYTE);
    for (int r = 0; r < groups() * GROUP_ROWS; r++) {
        uint8_t *start = row.data();
        if (r < rows) {
            const int64_t begin = first + int64_t(r) * columns;
            const int64_t end = begin + columns;
            uint8_t *out = row.data();
            for (int64_t byte = begin / WEIGHTS_PER_BYTE; byte * WEIGHTS_PER_BYTE < end; byte++) {
                std::memcpy(out, &digits.of[codes[byte]], 8);
                out += WEIGHTS_PER_BYTE;
            }
            start += begin % WEIGHTS_PER_BYTE;
            std::memset(start + columns, 1, width - columns);
        } else {
            std::memset(start, 1, width);
        }
        uint8_t *out = weights + size_t(r / GROUP_ROWS) * blocks() * BLOCK_BYTES;
        for (int b = 0; b < blocks(); b++) {
            uint32_t fields[4];
            std::memcpy(fields, start + BLOCK_COLUMNS * b, sizeof fields);
            const uint32_t packed = fields[0] | fields[1] << 2 | fields[2] << 4 | fields[3] << 6;
            std::memcpy(out + size_t(b) * BLOCK_BYTES + 4 * (r % GROUP_ROWS), &packed, 4);
        }
    }
    const int padding = int(num_bytes * WEIGHTS_PER_BYTE - count);
    for (int place = WEIGHTS_PER_BYTE - padding; place < WEIGHTS_PER_BYTE; place++)
        if ((digits.of[codes[num_bytes - 1]] >> 8 * place & 0xff) != 1)
            return Packing::PADDED_WITH_WEIGHTS;
    return Packing::DONE;
}

}  // namespace mmfree

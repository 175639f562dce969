// The reference path: plain C++, for any processor.
#include "cuts.h"
#include "kernels.h"

#define MMFREE_FMA 0
#define MMFREE_LANES 2
#include "elementwise.h"

namespace mmfree {
namespace {

void product(const Product &p) {
    for (int position = 0; position < p.positions; position++) {
        const int8_t *activations = p.activations + int64_t(position) * p.activation_stride;
        int32_t *sums = p.sums + int64_t(position) * p.sum_stride;
        const uint8_t *block = p.weights;
        for (int group = 0; group < p.groups; group++) {
            int32_t total[GROUP_ROWS];
            for (int32_t &row : total) row = p.minus[position];
            for (int b = 0; b < p.blocks; b++, block += BLOCK_BYTES)
                for (int field = 0; field < 4; field++) {
                    const int8_t *x = activations + BLOCK_COLUMNS * b + 4 * field;
                    for (int row = 0; row < GROUP_ROWS; row++)
                        for (int column = 0; column < 4; column++)
                            total[row] += (block[4 * row + column] >> 2 * field & 3) * x[column];
                }
            for (int row = 0; row < GROUP_ROWS; row++) sums[GROUP_ROWS * group + row] = total[row];
        }
    }
}

}  // namespace

const Kernels plain_kernels = MMFREE_KERNELS;

}  // namespace mmfree

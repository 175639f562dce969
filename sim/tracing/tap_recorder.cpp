// The writes of a token's vectors (tap_recorder.sv), in taps.bin of the working folder as soon as the
// token has its answer; sim/tracing/recorder.py reads them. The next token's take their place.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "svdpi.h"

namespace {

std::vector<unsigned char> records;

void append(const void *bytes, size_t size) {
    const unsigned char *first = static_cast<const unsigned char *>(bytes);
    records.insert(records.end(), first, first + size);
}

}  // namespace

extern "C" void mmfree_tap(int vector, unsigned long long cycle, int segment, int group,
                           int keep_words, const svBitVecVal *keep, int data_words,
                           const svBitVecVal *data) {
    const uint64_t when = cycle;
    const int32_t numbers[] = {vector, segment, group};
    append(&when, sizeof when);
    append(numbers, sizeof numbers);
    append(keep, sizeof *keep * static_cast<size_t>(keep_words));
    append(data, sizeof *data * static_cast<size_t>(data_words));
}

extern "C" void mmfree_taps_end() {
    std::FILE *file = std::fopen("taps.bin", "wb");
    if (file == nullptr || std::fwrite(records.data(), 1, records.size(), file) != records.size() ||
        std::fclose(file) != 0) {
        std::perror("Error: taps.bin");
        std::exit(1);
    }
    records.clear();
}

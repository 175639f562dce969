// The bytes of an external memory (axi_memory.sv): memory0.bin and on of the working folder, mapped
// one after another from the memory's base on, each at a multiple of 4096 bytes.
//
// Processes that map the same file share its pages; a bit that is flipped is one's own.

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "svdpi.h"

namespace {

struct Mapped {
    uint64_t begin, end;
    unsigned char *bytes;
};

constexpr uint64_t PAGE_BYTES = 4096;

std::vector<Mapped> map_files() {
    std::vector<Mapped> files;
    uint64_t begin = 0;
    for (int number = 0;; number++) {
        const std::string name = "memory" + std::to_string(number) + ".bin";
        const int file = open(name.c_str(), O_RDONLY);
        struct stat status;
        if (file < 0 || fstat(file, &status) != 0 || status.st_size == 0) return files;
        const uint64_t size = static_cast<uint64_t>(status.st_size);
        void *bytes = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
        close(file);
        if (bytes == MAP_FAILED) {
            std::perror(("Error: " + name).c_str());
            return files;
        }
        files.push_back({begin, begin + size, static_cast<unsigned char *>(bytes)});
        begin += (size + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    }
}

unsigned char *find(uint64_t offset, uint64_t size) {
    static const std::vector<Mapped> files = map_files();
    for (const Mapped &file : files)
        if (offset >= file.begin && offset < file.end && size <= file.end - offset)
            return file.bytes + (offset - file.begin);
    return nullptr;
}

}  // namespace

// Bytes from an offset on; 0 if there are none, which then read as 0.
extern "C" int mmfree_memory_read(unsigned long long offset, int bytes, svBitVecVal *data) {
    const unsigned char *found = find(offset, static_cast<uint64_t>(bytes));
    if (found == nullptr) {
        std::memset(data, 0, static_cast<size_t>(bytes));
        return 0;
    }
    std::memcpy(data, found, static_cast<size_t>(bytes));
    return 1;
}

extern "C" void mmfree_memory_flip(unsigned long long offset, int bit) {
    unsigned char *found = find(offset, 1);
    if (found != nullptr) *found ^= static_cast<unsigned char>(1 << bit);
}

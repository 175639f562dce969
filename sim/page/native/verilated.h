// What Verilator's C++ asks of its runtime, for a design of one clock in freestanding WebAssembly.
//
// Verilator's own headers need mutexes and a C++ library. This holds what its output for an
// accelerator uses, with the meaning of verilated_funcs.h; what it lacks is a compile error.
// Whatever Verilator would make random is 0.
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef uint8_t CData;
typedef uint16_t SData;
typedef uint32_t IData;
typedef uint64_t QData;
typedef uint32_t EData;

#define VL_CACHE_LINE_BYTES 64
#define VL_ATTR_COLD
#define VL_ATTR_UNUSED __attribute__((unused))
#define VL_UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define VL_UNCOPYABLE(type) \
    type(const type &) = delete; \
    type &operator=(const type &) = delete
#define VL_DO_DANGLING(statement, pointer) statement
#define VL_DEBUG_IF(statement)
#define VL_FATAL_MT(file, line, module, message) __builtin_trap()

#define VL_IN8(name, msb, lsb) CData name
#define VL_IN16(name, msb, lsb) SData name
#define VL_IN(name, msb, lsb) IData name
#define VL_IN64(name, msb, lsb) QData name
#define VL_INW(name, msb, lsb, words) VlWide<words> name
#define VL_OUT8(name, msb, lsb) CData name
#define VL_OUT16(name, msb, lsb) SData name
#define VL_OUT(name, msb, lsb) IData name
#define VL_OUT64(name, msb, lsb) QData name
#define VL_OUTW(name, msb, lsb, words) VlWide<words> name

template <size_t WORDS>
struct VlWide {
    EData words[WORDS];
    EData &operator[](size_t index) { return words[index]; }
    const EData &operator[](size_t index) const { return words[index]; }
    operator EData *() { return words; }
    operator const EData *() const { return words; }
};
typedef EData *WDataOutP;
typedef const EData *WDataInP;

template <class Value, size_t DEPTH>
struct VlUnpacked {
    Value values[DEPTH];
    Value &operator[](size_t index) { return values[index]; }
    const Value &operator[](size_t index) const { return values[index]; }
};

// Of the C++ library: names in declarations, and what a root's constructor calls.
namespace std {
class string;
template <class Type>
struct Reference {
    Type &of;
    Type &get() const { return of; }
};
template <class Type>
Reference<Type> ref(Type &of) { return {of}; }
inline void free(void *) {}
}  // namespace std
inline char *strdup(const char *) { return nullptr; }

inline uint64_t VL_MURMUR64_HASH(const char *) { return 0; }
inline IData VL_SCOPED_RAND_RESET_I(int, uint64_t, uint64_t) { return 0; }
inline QData VL_SCOPED_RAND_RESET_Q(int, uint64_t, uint64_t) { return 0; }
inline void VL_ZERO_W(int bits, WDataOutP out) {
    for (int word = 0; word < (bits + 31) / 32; word++) out[word] = 0;
}
inline void VL_ZERO_RESET_W(int bits, WDataOutP out) { VL_ZERO_W(bits, out); }
inline void VL_SCOPED_RAND_RESET_W(int bits, WDataOutP out, uint64_t, uint64_t) {
    VL_ZERO_W(bits, out);
}
inline void VL_ASSIGN_W(int bits, WDataOutP out, WDataInP in) {
    for (int word = 0; word < (bits + 31) / 32; word++) out[word] = in[word];
}

inline IData VL_REDXOR_2(IData value) { return __builtin_parity(value); }
inline IData VL_REDXOR_4(IData value) { return __builtin_parity(value); }
inline IData VL_REDXOR_8(IData value) { return __builtin_parity(value); }
inline IData VL_REDXOR_16(IData value) { return __builtin_parity(value); }
inline IData VL_REDXOR_32(IData value) { return __builtin_parity(value); }
inline IData VL_REDXOR_64(QData value) { return __builtin_parityll(value); }
inline IData VL_COUNTONES_I(IData value) { return __builtin_popcount(value); }
inline IData VL_COUNTONES_Q(QData value) { return __builtin_popcountll(value); }

// Signed values are kept in their lowest bits; those above them are 0, but after an extension.
inline int32_t vl_signed(int bits, IData value) {
    return int32_t(value << (32 - bits)) >> (32 - bits);
}
inline int64_t vl_signed64(int bits, QData value) {
    return int64_t(value << (64 - bits)) >> (64 - bits);
}
#define VL_EXTENDS_II(outBits, bits, value) IData(vl_signed(bits, value))
#define VL_EXTENDS_QI(outBits, bits, value) QData(vl_signed64(bits, value))
#define VL_EXTENDS_QQ(outBits, bits, value) QData(vl_signed64(bits, value))
#define VL_LTS_III(bits, a, b) IData(vl_signed(bits, a) < vl_signed(bits, b))
#define VL_LTES_III(bits, a, b) IData(vl_signed(bits, a) <= vl_signed(bits, b))
#define VL_GTS_III(bits, a, b) IData(vl_signed(bits, a) > vl_signed(bits, b))
#define VL_GTES_III(bits, a, b) IData(vl_signed(bits, a) >= vl_signed(bits, b))

inline IData vl_mask(int bits) { return bits >= 32 ? ~IData(0) : (IData(1) << bits) - 1; }
inline IData VL_SHIFTL_III(int bits, int, int, IData value, IData by) {
    return by >= 32 ? 0 : value << by & vl_mask(bits);
}
inline IData VL_SHIFTR_III(int, int, int, IData value, IData by) {
    return by >= 32 ? 0 : value >> by;
}
// Of a value of `bits` to one of outBits, with the sign above it.
inline IData VL_SHIFTRS_III(int outBits, int bits, int, IData value, IData by) {
    return IData(vl_signed(bits, value) >> (by >= 31 ? 31 : by)) & vl_mask(outBits);
}

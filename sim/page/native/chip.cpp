// The chip of one page: Verilator's C++ of it, its pins, and its clock. Included last, after all of
// that C++; pins.h is made beside it, a line PIN(name) for each port.
inline void *operator new(size_t, void *where) { return where; }

namespace {

// Never destroyed: there is no library to run destructors.
alignas(Vchip___024root) unsigned char place[sizeof(Vchip___024root)];
Vchip___024root *chip;

// Cycles by the segment in progress, of all edges with steady inputs.
unsigned passed_in[1 << 16];

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

// Every register has its initial value afterwards, and every input is 0.
EXPORT void start() {
    chip = new (place) Vchip___024root(nullptr, nullptr);
    Vchip___024root___eval_static(chip);
    Vchip___024root___eval_initial(chip);
    Vchip___024root___eval_settle(chip);
    chip->clk = 1;
}

// Where a port's value is, in the order of pins.h: whole bytes, the lowest first.
EXPORT void *pin(int index) {
    int number = 0;
#define PIN(name) if (number++ == index) return &chip->name;
#include "pins.h"
#undef PIN
    return nullptr;
}

// A rising edge after inputs have changed.
EXPORT void edge() {
    chip->__Vtrigprevexpr___TOP__clk__0 = 0;
    Vchip___024root___eval(chip);
}

// Rising edges with steady inputs, until there is an answer, at most `cycles`; returns how many.
// Only what a clock's edge changes is computed: the clocked region, as Verilator schedules it.
EXPORT int run(int cycles) {
    int passed = 0;
    while (passed < cycles && !(chip->result___05Fvalid || chip->fault___05Fvalid)) {
        chip->__VnbaTriggered[0U] = 1;
        Vchip___024root___eval_nba(chip);
        passed_in[chip->segment]++;
        passed++;
    }
    chip->__VnbaTriggered[0U] = 0;
    return passed;
}

EXPORT unsigned *cycles_by_segment() { return passed_in; }

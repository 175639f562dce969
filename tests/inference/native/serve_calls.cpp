// The library of the fast player behind a pipe, for processors that only an emulator has: reads
// calls from the standard input until it ends, answers each on the standard output.
//
// A call: its name (32 bytes, padded with zeros), the number of its arguments, and these: the bytes
// of an array, or -1; a number; the array. The answer: the result, and all arrays of the call.
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "api.cpp"

namespace {

struct Argument {
    int64_t number;  // of an array: its address
    std::vector<uint8_t> array;
};

using Arguments = std::vector<Argument>;
using Function = std::function<int64_t(const Arguments &)>;

template <class Result, class... Types>
Function taking(Result (*function)(Types...)) {
    return [function](const Arguments &given) {
        return [&]<size_t... Place>(std::index_sequence<Place...>) -> int64_t {
            if constexpr (std::is_void_v<Result>) {
                function((Types)given.at(Place).number...);
                return 0;
            } else {
                return int64_t(function((Types)given.at(Place).number...));
            }
        }(std::index_sequence_for<Types...>());
    };
}

// The tables of a choice are arrays of the call.
int generate(
    Player *player, Choice *choice, const int32_t *gumbel, const uint8_t *choosable,
    int32_t *logits, void *state, const uint8_t *ends, int count, int feeds_last, int32_t *rows) {
    choice->gumbel = gumbel;
    choice->choosable = choosable;
    return mmfree_generate(player, choice, logits, state, ends, count, feeds_last, rows);
}

const std::map<std::string, Function> FUNCTIONS = {
    {"mmfree_paths", taking(mmfree_paths)},
    {"mmfree_new", taking(mmfree_new)},
    {"mmfree_delete", taking(mmfree_delete)},
    {"mmfree_set_embedding", taking(mmfree_set_embedding)},
    {"mmfree_set_matrix", taking(mmfree_set_matrix)},
    {"mmfree_set_pow2_tables", taking(mmfree_set_pow2_tables)},
    {"mmfree_set_pow2_constants", taking(mmfree_set_pow2_constants)},
    {"mmfree_set_pow2_bias", taking(mmfree_set_pow2_bias)},
    {"mmfree_set_absmax_tables", taking(mmfree_set_absmax_tables)},
    {"mmfree_set_absmax_segment", taking(mmfree_set_absmax_segment)},
    {"mmfree_set_absmax_constants", taking(mmfree_set_absmax_constants)},
    {"mmfree_run", taking(mmfree_run)},
    {"mmfree_generate", taking(generate)},
    {"mmfree_take_saturations", taking(mmfree_take_saturations)},
    {"mmfree_set_threads", taking(mmfree_set_threads)},
    {"mmfree_try_glu", taking(mmfree_try_glu)},
    {"mmfree_try_quantize", taking(mmfree_try_quantize)},
    {"mmfree_try_sum", taking(mmfree_try_sum)},
};

void take(void *to, size_t bytes) {
    if (std::fread(to, 1, bytes, stdin) != bytes) std::abort();
}

int64_t take_number() {
    int64_t number;
    take(&number, sizeof number);
    return number;
}

Argument take_argument() {
    const int64_t bytes = take_number(), number = take_number();
    if (bytes < 0) return {number, {}};
    std::vector<uint8_t> array(bytes);
    take(array.data(), bytes);
    const int64_t address = reinterpret_cast<int64_t>(array.data());
    return {address, std::move(array)};
}

}  // namespace

int main() {
    char name[32];
    // Kept to the end: an embedding stays the caller's.
    std::vector<Arguments> calls;
    while (std::fread(name, sizeof name, 1, stdin) == 1) {
        Arguments &given = calls.emplace_back();
        for (int64_t left = take_number(); left > 0; left--) given.push_back(take_argument());
        const auto function = FUNCTIONS.find(name);
        if (function == FUNCTIONS.end()) {
            std::fprintf(stderr, "serve_calls.cpp does not know %s\n", name);
            return 1;
        }
        const int64_t result = function->second(given);
        std::fwrite(&result, sizeof result, 1, stdout);
        for (const Argument &argument : given)
            std::fwrite(argument.array.data(), 1, argument.array.size(), stdout);
        std::fflush(stdout);
    }
}

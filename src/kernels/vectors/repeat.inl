// f(0), ..., f(kN - 1), written out: arrays that f changes stay in registers, where a loop that is
// unrolled leaves stores of them behind.
template <int kN, typename F>
inline __attribute__((always_inline)) void repeat(F f) {
  [&]<int... kI>(std::integer_sequence<int, kI...>) __attribute__((always_inline)) { (f(kI), ...); }
  (std::make_integer_sequence<int, kN>{});
}

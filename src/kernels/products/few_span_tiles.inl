// Products of weights in spans with up to 16 tokens, on the matrix unit. After span_digits.inl.
//
// Making digits of weights takes longer than multiplying them, so both are done at once: while the
// unit multiplies 64 columns of a group of rows by all tokens, those two steps ahead become digits,
// and the sums of the span before become floats. Both digits of inputs pass together.
//
//   C [2 digits of inputs][2 of weights][16][16] int32  =  A [2][16][span] int8  *  B [2][span][16]

constexpr int kFewTokens = kTileRows;
constexpr int kStepsAhead = 2;  // that digits are made

struct FewScratch {
  static constexpr int kSteps = 4;  // that panels are a ring of
  std::byte panels[2][kSteps][kTileBytes];
  std::int32_t c[2][2][2][kTileRows][kGroupRows];  // of this span and the one before
  float sums[kTileRows][kGroupRows];
};

// Of 64 columns each, in a span of a row.
RUNNEL_INLINE int steps_of_span(std::int64_t cols, std::int64_t span) {
  const std::int64_t left = cols - span * kSpan;
  return static_cast<int>(((left < kSpan ? left : kSpan) + 63) / 64);
}

// Steps, group after group: those that become digits.
template <PackedFormat F>
class DigitSteps {
 public:
  DigitSteps(const std::byte* first_group, std::int64_t cols, std::int64_t n_groups)
      : span_(first_group), cols_(cols), n_groups_(n_groups) {}

  // Half of a step, a chunk; asks for what comes kFetchAhead bytes later.
  RUNNEL_MEMBER void put(int half, FewScratch& s) const {
    if (n_groups_ == 0) return;
    constexpr auto kChunkBytes = static_cast<std::int64_t>(in_spans(F).chunk_bytes());
    const std::int64_t span_col = col_ / kSpan * kSpan;
    const int n_chunks =
        static_cast<int>((cols_ - span_col < kSpan ? cols_ - span_col : kSpan) / 32);
    const int c = static_cast<int>((col_ - span_col) / 32) + half;
    fetch_bytes(span_ + kFetchAhead + c * kChunkBytes, kChunkBytes);
    const std::int64_t at = half * kTileBytes / 2;
    put_chunk<F>(span_, c, n_chunks, s.panels[0][place_] + at, s.panels[1][place_] + at);
  }
  RUNNEL_MEMBER void advance() {
    place_ = (place_ + 1) % FewScratch::kSteps;
    col_ += 64;
    if (col_ < cols_ && col_ % kSpan != 0) return;
    const std::int64_t span_col = (col_ - 1) / kSpan * kSpan;
    const std::int64_t n_cols = cols_ - span_col < kSpan ? cols_ - span_col : kSpan;
    span_ += span_group_bytes_of(F, n_cols);
    if (col_ < cols_) return;
    col_ = 0;
    if (n_groups_ > 0) --n_groups_;
  }

 private:
  const std::byte* span_;  // where the step's span begins
  std::int64_t cols_;
  std::int64_t n_groups_;  // left
  std::int64_t col_ = 0;
  int place_ = 0;
};

// A span of a group that was multiplied, whose C is to be added to sums.
struct FewTaken {
  int n_tokens = 0;
  bool has_high = false;
  bool is_last = false;  // of its group: the sums are complete
  std::int64_t row = 0;
  const std::int32_t (*c)[2][kTileRows][kGroupRows] = nullptr;
  const float* scales = nullptr;
  const float* d = nullptr;
};

template <Digits kDigits>
RUNNEL_INLINE void add_few(const Matmul& m, const FewTaken& taken, int t, FewScratch& s) {
  const Vec d = load(taken.d);
  Vec sum = load(s.sums[t]);
  const float scale = taken.scales[t];
  for (int digit = 0; digit <= (taken.has_high ? 1 : 0); ++digit) {
    const Sums whole = whole_of<kDigits>(_mm512_load_si512(taken.c[digit][0][t]),
                                         _mm512_load_si512(taken.c[digit][1][t]));
    const Vec of_digit = splat(digit == 0 ? scale : kHighDigit * scale);
    sum = multiply_add(to_float(whole), d * of_digit, sum);
  }
  if (!taken.is_last) return store(s.sums[t], sum);
  store(s.sums[t], splat(0));
  const int n_rows = of_half(0, m.w.rows - taken.row);
  if (m.bias != nullptr) sum = sum + load_first(m.bias + taken.row, n_rows);
  store_first(m.y + t * m.y_stride + taken.row, sum, n_rows);
}

// Tiles: 0 and 1 sums of low digits of inputs, with high and low ones of weights, 2 and 3 of high
// digits of inputs; 4 and 5 inputs, 6 and 7 weights.
static void shape_few_tiles(int n) {
  TileShapes shapes;
  for (int tile = 0; tile < 4; ++tile) shapes.set(tile, n, kGroupRows);
  shapes.set(4, n, 16);
  shapes.set(5, n, 16);
  shapes.set(6, 16, kGroupRows);
  shapes.set(7, 16, kGroupRows);
  order_memory();
  _tile_loadconfig(&shapes);
}

// Multiplies a span of a group, whose first step lies at `place` of the panels; the steps with high
// digits of inputs. Meanwhile `ahead` goes on and `before` is added up.
template <PackedFormat F>
RUNNEL_INLINE unsigned multiply_few(const Matmul& m, std::int64_t span, int place,
                                    const FewTaken& before, DigitSteps<F>& ahead,
                                    std::int32_t (*c)[2][kTileRows][kGroupRows], FewScratch& s) {
  constexpr Digits kDigits = digits_of(F);
  const SpanInputs<const std::byte> x = {m.inputs, m.n_tokens, n_spans(m.w.cols)};
  const SpanInputs<const std::byte> high_x = x.high();
  const unsigned high_steps = steps_of(high_x.steps(span, 0), m.n_tokens);
  const int n_steps = steps_of_span(m.w.cols, span);
  order_memory();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int step = 0; step < n_steps; ++step, place = (place + 1) % FewScratch::kSteps) {
    order_memory();
    _tile_loadd(4, x.q(span, step, 0), 64);
    _tile_loadd(6, s.panels[0][place], 64);
    _tile_dpbssd(0, 4, 6);
    ahead.put(0, s);
    order_memory();
    _tile_loadd(7, s.panels[1][place], 64);
    RUNNEL_MULTIPLY_LOW(1, 4, 7);
    ahead.put(1, s);
    order_memory();
    if ((high_steps >> step & 1) != 0) {
      _tile_loadd(5, high_x.q(span, step, 0), 64);
      _tile_dpbssd(2, 5, 6);
      RUNNEL_MULTIPLY_LOW(3, 5, 7);
    }
    ahead.advance();
    const int end = step + 1 == n_steps ? before.n_tokens : before.n_tokens * (step + 1) / 4;
    for (int t = before.n_tokens * step / 4; t < end; ++t) add_few<kDigits>(m, before, t, s);
  }
  order_memory();
  _tile_stored(0, c[0][0], 64);
  _tile_stored(1, c[0][1], 64);
  if (high_steps != 0) {
    _tile_stored(2, c[1][0], 64);
    _tile_stored(3, c[1][1], 64);
  }
  order_memory();
  return high_steps;
}

template <PackedFormat F>
static void few_span_tiles(const Matmul& m, std::int64_t first_row, std::int64_t last_row,
                           std::byte* scratch) {
  static_assert(sizeof(FewScratch) <= kLeastScratchBytes);
  auto& s = *reinterpret_cast<FewScratch*>(scratch);
  const SpanInputs<const std::byte> x = {m.inputs, m.n_tokens, n_spans(m.w.cols)};
  const std::size_t group_bytes = span_group_bytes_of(F, m.w.cols);
  const std::byte* group =
      m.w.packed + static_cast<std::size_t>(first_row / kGroupRows) * group_bytes;
  DigitSteps<F> ahead(group, m.w.cols, n_groups(last_row - first_row));
  for (int step = 0; step < kStepsAhead; ++step) {
    ahead.put(0, s);
    ahead.put(1, s);
    ahead.advance();
  }
  for (int t = 0; t < m.n_tokens; ++t) store(s.sums[t], splat(0));
  shape_few_tiles(m.n_tokens);
  FewTaken before;
  int place = 0;
  int turn = 0;
  for (std::int64_t row = first_row; row < last_row; row += kGroupRows, group += group_bytes) {
    for (std::int64_t span = 0; span < n_spans(m.w.cols); ++span, turn = 1 - turn) {
      const unsigned high_steps = multiply_few<F>(m, span, place, before, ahead, s.c[turn], s);
      place = (place + steps_of_span(m.w.cols, span)) % FewScratch::kSteps;
      before = {.n_tokens = m.n_tokens,
                .has_high = high_steps != 0,
                .is_last = span + 1 == n_spans(m.w.cols),
                .row = row,
                .c = s.c[turn],
                .scales = x.scale(span, 0),
                .d = reinterpret_cast<const float*>(group + span_group_bytes_of(F, span * kSpan))};
    }
  }
  for (int t = 0; t < before.n_tokens; ++t) add_few<digits_of(F)>(m, before, t, s);
  _tile_release();
}

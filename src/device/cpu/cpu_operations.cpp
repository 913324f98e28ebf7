// Rows, norms, the residual stream, embeddings and logits.
#include "device/cpu/cpu_operations.h"

#include <algorithm>

#include "kernels/pack/dequantize.h"

namespace runnel::cpu {
namespace {

constexpr int kLogitRows = 32;  // rows of logits computed together

}  // namespace

CpuOperations::CpuOperations(const StepSizes& s, ThreadPool& threads, const kernels::Table& table)
    : sizes_(s), threads_(threads), kernels_(table) {
  const std::size_t n = size(s.max_tokens);
  normalised_.resize(n * size(s.dim));
  update_.resize(n * size(s.dim));
  for (Vector* buffer : {&sink_q_, &heads_}) buffer->resize(n * size(s.q_dim));
  for (Vector* buffer : {&gate_, &up_}) buffer->resize(n * size(s.ffn_dim));
  logits_.resize(size(s.vocabulary_size));
  inputs_ = take_pages(kernels_.input_bytes(s.largest_input, s.max_tokens));
  down_inputs_ = take_pages(kernels_.input_bytes(s.ffn_dim, s.max_tokens));
  scratch_.assign(size(threads.size()),
                  cache_lines(std::max(kernels::matmul_scratch_bytes(s.largest_input),
                                       kernels_.attention_scratch_bytes(s.head_dim))));
  study_.resize(size(threads.size()));
  segments_.reserve(n);
  mixer_in_.resize(n * size(s.mixer_dim));
  mixed_.resize(n * size(s.mixed_dim));
  table_rows_.resize(size(threads.size()) * size(s.layer_inputs_dim));
  if (s.n_experts == 0) return;
  router_.resize(n * size(s.n_experts));
  chosen_.resize(n * size(s.n_experts_used));
  chosen_weight_.resize(chosen_.size());
  choices_.reserve(n);
  for (Vector* buffer : {&expert_in_, &expert_out_}) buffer->resize(n * size(s.dim));
}

Rows CpuOperations::rows(int width) {
  rows_.emplace_back(size(sizes_.max_tokens) * size(width));
  return {static_cast<int>(rows_.size()) - 1, width};
}

void CpuOperations::begin(const Step& step) {
  step_ = step;
  met_nonfinite_ = false;
  cut_segments();
  newest_rings_.clear();
  for (const Segment& segment : segments_) {
    const StepRow& first = step_.rows[size(segment.first)];
    if (first.cache == nullptr) continue;
    make_room_for(*first.cache);
    if (first.cache->has_newest()) newest_rings_.add(*first.cache, first.position, segment.n);
  }
  done(StepPart::kOutside);
}

// Once, when the first stream with a rotated cache comes, or with one of codes.
void CpuOperations::make_room_for(const KvCache& cache) {
  const std::size_t n_threads = size(threads_.size());
  const std::size_t of_row = 3 * size(sizes_.head_dim) + 1;
  if (cache.is_rotated() && turned_.empty())
    turned_.assign(n_threads, Vector(of_row * kernels::kMaxQueryRows));
  if (!cache.has_newest() || !far_out_.empty()) return;
  far_out_.assign(n_threads, Vector(size(sizes_.head_dim) * kernels::kMaxQueryRows));
  study_of_parts_.resize(n_threads);
}

void CpuOperations::cut_segments() {
  segments_.clear();
  attention_cut_ = {};
  for (int row = 0; row < n_rows(); ++row) {
    if (row == 0 || step_.rows[size(row)].segment != step_.rows[size(row) - 1].segment)
      segments_.push_back({row, 0});
    ++segments_.back().n;
  }
}

void CpuOperations::keep(std::span<const std::size_t> kept, std::span<const StepRow> rows) {
  const auto move_rows = [&](Vector& v, std::size_t width) {
    for (std::size_t to = 0; to < kept.size(); ++to)
      std::copy_n(v.data() + kept[to] * width, width, v.data() + to * width);
  };
  for (Vector& v : rows_) move_rows(v, v.size() / size(sizes_.max_tokens));
  move_rows(sink_q_, size(sizes_.q_dim));
  step_.rows = rows;
  cut_segments();
}

void CpuOperations::embed(const Matrix& table, float scale, Rows x) {
  threads_.run(n_rows(), [&](int i, int) {
    const std::byte* row = table.data + size(step_.rows[size(i)].token) * table.row_bytes();
    kernels::dequantize_row(table.type, row, at(x, i), x.width);
    if (scale == 1) return;
    for (int d = 0; d < x.width; ++d) at(x, i)[d] *= scale;
  });
  done(StepPart::kEmbed);
}

void CpuOperations::logits(const Input& input, const Linear& output, float softcap,
                           const RowVisitor& on_row) {
  const float* x = input_of(input);
  const std::size_t vocabulary = size(output.weight.rows);
  for (std::size_t first = 0; first < step_.rows.size(); first += kLogitRows) {
    const std::size_t n = std::min<std::size_t>(kLogitRows, step_.rows.size() - first);
    if (logits_.size() < n * vocabulary) logits_.resize(n * vocabulary);
    multiply(std::array{
        product_of(output, x + first * size(input.x.width), static_cast<int>(n), logits_.data())});
    done(StepPart::kLogits);
    if (times_ != nullptr) times_->count_logits(n);
    for (std::size_t i = 0; i < n; ++i) {
      float* row = &logits_[i * vocabulary];
      if (softcap > 0) kernels_.softcap(row, softcap, static_cast<int>(vocabulary));
      LogitsRow* const place = step_.rows[first + i].logits;
      place != nullptr ? place->write({row, vocabulary}) : on_row(first + i, {row, vocabulary});
    }
  }
}

void CpuOperations::sample(std::span<const Choice> choices, std::span<Chosen> chosen) {
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const Choice& c = choices[i];
    const std::span<const float> logits = c.logits->read();
    const Token token = c.sampler == nullptr
                            ? c.token
                            : c.sampler->pick(logits.first(c.n_writable), c.visible, c.allowed);
    chosen[i] = {token, logits[size(token)],
                 kernels_.log_sum_exp(logits.data(), static_cast<int>(logits.size()))};
  }
}

void CpuOperations::read(Rows rows, float* out) {
  std::copy_n(at(rows), step_.rows.size() * size(rows.width), out);
}

void CpuOperations::write(Rows rows, const float* in) {
  std::copy_n(in, step_.rows.size() * size(rows.width), at(rows));
}

void CpuOperations::normalize(const Normalization& norm, Rows x, Rows out) {
  normalize(norm, at(x), at(out), x.width);
}

void CpuOperations::normalize(const Normalization& norm, const float* x, float* out, int width) {
  const float* weight = norm.weights->weight.data();
  const float* bias = norm.weights->bias.empty() ? nullptr : norm.weights->bias.data();
  threads_.run(n_rows(), [&](int row, int) {
    const std::size_t begin = size(row) * size(width);
    if (norm.kind == Norm::kRms) {
      kernels_.rms_norm(x + begin, weight, norm.epsilon, out + begin, width);
    } else {
      kernels_.layer_norm(x + begin, weight, bias, norm.epsilon, out + begin, width);
    }
  });
  done(StepPart::kNorm);
}

const float* CpuOperations::input_of(const Input& input) {
  return input.norm.weights == nullptr ? at(input.x) : normalised(input.norm, input.x);
}

const float* CpuOperations::normalised(const Normalization& norm, Rows x) {
  normalize(norm, at(x), normalised_.data(), x.width);
  return normalised_.data();
}

void CpuOperations::add(const Residual& residual, float* update) {
  const int width = residual.x.width;
  if (residual.norm.weights != nullptr) normalize(residual.norm, update, update, width);
  threads_.run(n_rows(), [&](int row, int) {
    float* of_row = update + size(row) * size(width);
    if (residual.scale != 1)
      for (int d = 0; d < width; ++d) of_row[d] *= residual.scale;
    float* x = at(residual.x, row);
    kernels_.add(of_row, x, width);
    if (residual.sum_scale != 1)
      for (int d = 0; d < width; ++d) x[d] *= residual.sum_scale;
  });
  done(StepPart::kResidual);
}

}  // namespace runnel::cpu

#include "device/opencl/sampling.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "device/opencl/sources.h"
#include "runnel/error.h"

namespace runnel::opencl {
namespace {

constexpr std::size_t kSampleGroup = 64;  // work-items of sample.cl
constexpr std::size_t kLogitsOfSlice = 512;

}  // namespace

std::span<const float> DeviceLogits::read() {
  if (is_here_) return here_;
  here_.resize(vocabulary_size_);
  context_.read(buffer_, 0, std::as_writable_bytes(std::span(here_)));
  is_here_ = true;
  return here_;
}

void DeviceLogits::write(std::span<const float> logits) {
  is_here_ = false;
  context_.write(buffer_, 0, std::as_bytes(logits));
}

bool TokenSampler::is_drawn_there(const Choice& choice) const {
  const SamplingOptions& options = choice.sampler->options();
  if (choice.sampler->needs_visible_tokens() || !choice.allowed.empty()) return false;
  if (options.temperature <= 0) return true;
  return context_.has_doubles() && options.top_k > 0 &&
         options.top_k <= static_cast<int>(kMostLikely);
}

// Without moving the sampler's random state.
TokenSampler::Draw TokenSampler::draw_of(const Choice& choice) const {
  if (choice.sampler == nullptr) return {.k = 0, .token = choice.token};
  const SamplingOptions& options = choice.sampler->options();
  if (options.temperature <= 0) return {.temperature = 0, .k = 1};
  const std::uint64_t state = choice.sampler->random_state();
  const double random = choice.sampler->uniform();
  choice.sampler->set_random_state(state);
  return {.random = std::bit_cast<cl_ulong>(random),
          .temperature = options.temperature,
          .top_p = options.top_p,
          .log_min_p = std::log(options.min_p),
          .k = options.top_k};
}

void TokenSampler::reserve(std::size_t n_streams, std::size_t n_slices) {
  const auto grow = [&](Buffer& buffer, std::size_t n_bytes) {
    if (buffer.bytes() < n_bytes) buffer = context_.take(n_bytes);
  };
  grow(draws_, n_streams * sizeof(Draw));
  grow(keys_, n_streams * n_slices * kMostLikely * sizeof(cl_ulong));
  grow(sums_, n_streams * n_slices * 2 * sizeof(float));
  grow(given_, n_streams * sizeof(float));
  grow(drawn_, n_streams * sizeof(Drawn));
}

void TokenSampler::sample(std::span<const Choice> choices, std::span<Chosen> chosen) {
  if (choices.empty()) return;
  std::vector<Draw> draws;
  for (Choice choice : choices) {
    if (choice.sampler != nullptr && !is_drawn_there(choice)) {
      choice.token = choice.sampler->pick(choice.logits->read().first(choice.n_writable),
                                          choice.visible, choice.allowed);
      choice.sampler = nullptr;
    }
    draws.push_back(draw_of(choice));
  }
  const auto row = [](const Choice& c) -> const DeviceLogits& {
    return static_cast<const DeviceLogits&>(*c.logits);
  };
  const std::size_t vocabulary = row(choices.front()).vocabulary_size();
  const std::size_t n_slices = std::clamp<std::size_t>(vocabulary / kLogitsOfSlice, 1, kMostSlices);
  reserve(choices.size(), n_slices);
  context_.write_later(draws_, std::as_bytes(std::span(draws)));
  Program& program = context_.program(kSampleSource, context_.has_doubles() ? "-DHAS_DOUBLES" : "");
  Kernel& find = program.kernel("find_likeliest");
  for (std::size_t i = 0; i < choices.size(); ++i) {
    find.set(row(choices[i]).buffer(), static_cast<cl_int>(vocabulary),
             static_cast<cl_int>(choices[i].n_writable), static_cast<cl_int>(n_slices), draws_,
             static_cast<cl_int>(i), keys_, sums_, given_);
    context_.launch(find, {n_slices, 1, 1}, kSampleGroup);
  }
  Kernel& draw = program.kernel("draw_tokens");
  draw.set(static_cast<cl_int>(n_slices), draws_, keys_, sums_, given_, drawn_);
  context_.launch(draw, {choices.size(), 1, 1}, kSampleGroup);
  std::vector<Drawn> drawn(choices.size());
  context_.read(drawn_, 0, std::as_writable_bytes(std::span(drawn)));
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (drawn[i].token < 0) throw Error("logits: want numbers, found none to choose a token by");
    if (draws[i].temperature > 0) choices[i].sampler->uniform();
    chosen[i] = {drawn[i].token, drawn[i].logit, drawn[i].log_sum};
  }
}

}  // namespace runnel::opencl

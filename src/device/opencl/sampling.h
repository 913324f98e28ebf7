// Logits that stay on an OpenCL device, and the tokens that streams take from them there.
#pragma once

#include <span>
#include <vector>

#include "device/logits.h"
#include "device/opencl/context.h"

namespace runnel::opencl {

class DeviceLogits final : public LogitsRow {
 public:
  DeviceLogits(Context& context, int vocabulary_size)
      : context_(context),
        vocabulary_size_(static_cast<std::size_t>(vocabulary_size)),
        buffer_(context.take(vocabulary_size_ * sizeof(float))) {}

  std::span<const float> read() override;
  void write(std::span<const float> logits) override;
  // For a step that writes them.
  const Buffer& changed() {
    is_here_ = false;
    return buffer_;
  }
  const Buffer& buffer() const { return buffer_; }
  std::size_t vocabulary_size() const { return vocabulary_size_; }

 private:
  Context& context_;
  std::size_t vocabulary_size_;
  Buffer buffer_;
  std::vector<float> here_;
  bool is_here_ = false;
};

class TokenSampler {
 public:
  explicit TokenSampler(Context& context) : context_(context) {}
  static constexpr std::size_t kMostSlices = 64;  // one for each work-item that joins them
  static constexpr std::size_t kMostLikely = 256;
  static constexpr std::size_t kBytesOfStream = kMostSlices * kMostLikely * sizeof(cl_ulong);

  // As Operations::sample(). What the kernels do not know (penalties, a constraint, a top_k of 0 or
  // more than 256, drawing without double precision) is chosen here, of logits that come back.
  void sample(std::span<const Choice> choices, std::span<Chosen> chosen);

 private:
  struct Draw {  // as sample.cl has it
    cl_ulong random;
    cl_float temperature, top_p, log_min_p;
    cl_int k;
    cl_int token;
    cl_int room;
  };
  struct Drawn {
    cl_int token;
    cl_float logit;
    cl_float log_sum;
  };

  bool is_drawn_there(const Choice& choice) const;
  Draw draw_of(const Choice& choice) const;
  void reserve(std::size_t n_streams, std::size_t n_slices);

  Context& context_;
  Buffer draws_, keys_, sums_, given_, drawn_;
};

}  // namespace runnel::opencl

// Looking into a stream and a model.
#include "c/handles.h"
#include "eval/perplexity.h"
#include "eval/statistics.h"

namespace runnel::c {
namespace {

// A result struct with its arrays behind it in one piece of memory.
class Block {
 public:
  // Room for `Result` and arrays of so many bytes in all.
  Block(std::size_t n_struct, std::size_t n_arrays)
      : memory_(static_cast<char*>(allocate(round_up(n_struct) + n_arrays))),
        next_(memory_ + round_up(n_struct)) {}

  template <typename T>
  const T* add(const std::vector<T>& values) {
    T* array = reinterpret_cast<T*>(next_);
    if (!values.empty()) std::memcpy(array, values.data(), values.size() * sizeof(T));
    next_ += values.size() * sizeof(T);
    return array;
  }
  template <typename Result>
  Result* finish(const Result& result) {
    return new (memory_) Result(result);
  }

 private:
  static std::size_t round_up(std::size_t n) { return (n + 15) / 16 * 16; }

  char* memory_;
  char* next_;
};

}  // namespace
}  // namespace runnel::c

using namespace runnel::c;

extern "C" {

runnel_status runnel_list_devices(runnel_device** devices, size_t* n) {
  return guarded([&] {
    want(devices, "devices");
    want(n, "n");
    std::string reason;
    const std::vector<runnel::DeviceInfo> found = runnel::devices(&reason);
    std::size_t n_text = 0;
    for (const runnel::DeviceInfo& d : found)
      n_text += d.id.size() + d.name.size() + d.driver.size() + 3;
    auto* list =
        static_cast<runnel_device*>(allocate(found.size() * sizeof(runnel_device) + n_text));
    auto* text = reinterpret_cast<char*>(list + found.size());
    const auto add = [&text](const std::string& s) {
      char* const copy = text;
      std::memcpy(copy, s.c_str(), s.size() + 1);
      text += s.size() + 1;
      return copy;
    };
    for (std::size_t i = 0; i < found.size(); ++i) {
      const runnel::DeviceInfo& d = found[i];
      list[i] = {.id = add(d.id),
                 .name = add(d.name),
                 .driver = add(d.driver),
                 .is_gpu = d.is_gpu ? 1 : 0,
                 .units = d.units,
                 .memory_bytes = d.memory_bytes,
                 .largest_buffer_bytes = d.largest_buffer_bytes};
    }
    *devices = list;
    *n = found.size();
    if (found.empty()) fail(RUNNEL_OK, reason.c_str());
  });
}

runnel_status runnel_stream_logits(const runnel_stream* stream, const float** logits, size_t* n) {
  return guarded([&] {
    want(stream, "stream");
    want(logits, "logits");
    want(n, "n");
    const std::span<const float> found = stream->stream.logits();
    *logits = found.data();
    *n = found.size();
  });
}

runnel_status runnel_stream_top_logprobs(const runnel_stream* stream, size_t capacity,
                                         runnel_token* tokens, float* logprobs, size_t* n) {
  return guarded([&] {
    want(stream, "stream");
    want(tokens, "tokens");
    want(logprobs, "logprobs");
    want(n, "n");
    const auto most = static_cast<int>(std::min<std::size_t>(capacity, 1 << 30));
    const auto top = stream->stream.top_logprobs(most);
    for (std::size_t i = 0; i < top.size(); ++i) {
      tokens[i] = top[i].first;
      logprobs[i] = top[i].second;
    }
    *n = top.size();
  });
}

runnel_status runnel_stream_visible_tokens(const runnel_stream* stream, runnel_token** tokens,
                                           size_t* n_tokens) {
  return guarded([&] {
    want(stream, "stream");
    want(tokens, "tokens");
    want(n_tokens, "n_tokens");
    const std::vector<runnel::Token> visible = stream->stream.visible_tokens();
    give(std::span(visible), tokens, n_tokens);
  });
}

runnel_status runnel_stream_attention(const runnel_stream* stream, int32_t n_last,
                                      runnel_attention** attention) {
  return guarded([&] {
    want(stream, "stream");
    want(attention, "attention");
    const runnel::Stream::Attention a = stream->stream.attention(n_last);
    Block block(sizeof(runnel_attention),
                (a.queries.size() + a.positions.size()) * sizeof(std::int64_t) +
                    a.weights.size() * sizeof(float));
    *attention = block.finish(runnel_attention{.layers = a.layers,
                                               .heads = a.heads,
                                               .n_queries = a.queries.size(),
                                               .n_positions = a.positions.size(),
                                               .queries = block.add(a.queries),
                                               .positions = block.add(a.positions),
                                               .weights = block.add(a.weights)});
  });
}

runnel_status runnel_measure_perplexity(const runnel_model* model, const runnel_token* tokens,
                                        size_t n_tokens, const runnel_stream_options* options,
                                        int64_t recompute_tokens, runnel_progress progress,
                                        void* user, runnel_perplexity** result) {
  return guarded([&] {
    want(model, "model");
    want(result, "result");
    const runnel::StreamOptions stream = stream_options(options);
    runnel::eval::PerplexityRun run(
        *model->model, tokens_of(tokens, n_tokens),
        {.policies = {stream.policy}, .stream = stream, .recompute_tokens = recompute_tokens});
    run.run([&](double) {
      return progress == nullptr ||
             progress(user, run.position(), static_cast<std::int64_t>(n_tokens)) == 0;
    });
    const runnel::eval::NllSeries& series = run.series().front();
    Block block(sizeof(runnel_perplexity),
                series.positions.size() * (sizeof(std::int64_t) + sizeof(float)));
    const double mean = runnel::eval::block_estimate(std::span(series.nll)).mean;
    *result =
        block.finish(runnel_perplexity{.policy = static_cast<std::int32_t>(series.options.policy),
                                       .sinks = series.options.sinks,
                                       .window = series.options.window.value_or(0),
                                       .n = series.nll.size(),
                                       .positions = block.add(series.positions),
                                       .nll = block.add(series.nll),
                                       .mean_nll = mean,
                                       .seconds = series.seconds});
  });
}

}  // extern "C"

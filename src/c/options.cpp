// The options' C structs and their C++ twins.
#include <fmt/format.h>

#include "c/handles.h"

namespace runnel::c {
namespace {

constexpr std::int32_t kAllLayers = -1;

template <typename Enum>
Enum enum_of(std::int32_t value, Enum last, const char* name) {
  if (value < 0 || value > static_cast<std::int32_t>(last)) {
    throw Error(fmt::format("stream option {}: want 0 to {}, found {}", name,
                            static_cast<int>(last), value));
  }
  return static_cast<Enum>(value);
}

runnel_model_options default_model_options() {
  return {.size = sizeof(runnel_model_options), .device_layers = kAllLayers};
}

runnel_sampling default_sampling() {
  const SamplingOptions defaults;
  return {.size = sizeof(runnel_sampling),
          .temperature = defaults.temperature,
          .top_k = defaults.top_k,
          .top_p = defaults.top_p,
          .min_p = defaults.min_p,
          .repetition_penalty = defaults.repetition_penalty,
          .frequency_penalty = defaults.frequency_penalty,
          .presence_penalty = defaults.presence_penalty,
          .seed = defaults.seed};
}

runnel_stream_options default_stream_options() {
  const StreamOptions defaults;
  return {.size = sizeof(runnel_stream_options),
          .policy = static_cast<std::int32_t>(defaults.policy),
          .sinks = defaults.sinks,
          .window = 0,
          .kv_type = static_cast<std::int32_t>(defaults.kv_type),
          .softmax = RUNNEL_SOFTMAX_MODEL,
          .chunk = defaults.chunk,
          .draft = defaults.draft,
          .pin = nullptr,
          .pin_bytes = 0,
          .pin_tokens = nullptr,
          .n_pin_tokens = 0,
          .start_position = defaults.start_position,
          .sampling = nullptr,
          .layer_windows = nullptr,
          .n_layer_windows = 0,
          .kv_rotate = -1};
}

}  // namespace

ModelOptions model_options(const runnel_model_options* options) {
  runnel_model_options o = default_model_options();
  read_struct(o, options, "runnel_model_options");
  ModelOptions result = {
      .threads = o.threads, .vocabulary_only = o.vocabulary_only != 0, .exact = o.exact != 0};
  if (o.device != nullptr) result.device = o.device;
  if (o.device_layers != kAllLayers) result.device_layers = o.device_layers;
  result.device_memory = o.device_memory;
  if (o.packed_cache != nullptr) result.packed_cache = o.packed_cache;
  if (o.progress != nullptr) {
    result.progress = [progress = o.progress, user = o.user](std::size_t done, std::size_t all) {
      return progress(user, static_cast<std::int64_t>(done), static_cast<std::int64_t>(all)) == 0;
    };
  }
  return result;
}

SamplingOptions sampling_options(const runnel_sampling* sampling) {
  runnel_sampling s = default_sampling();
  read_struct(s, sampling, "runnel_sampling");
  return {.temperature = s.temperature,
          .top_k = s.top_k,
          .top_p = s.top_p,
          .min_p = s.min_p,
          .repetition_penalty = s.repetition_penalty,
          .frequency_penalty = s.frequency_penalty,
          .presence_penalty = s.presence_penalty,
          .seed = s.seed};
}

StreamOptions stream_options(const runnel_stream_options* options) {
  runnel_stream_options o = default_stream_options();
  read_struct(o, options, "runnel_stream_options");
  StreamOptions result;
  result.policy = enum_of(o.policy, Policy::kRecompute, "policy");
  result.sinks = o.sinks;
  if (o.window != 0) result.window = o.window;
  result.kv_type = enum_of(o.kv_type, KvType::kQ4_0, "kv_type");
  if (o.layer_windows != nullptr)
    result.layer_windows.assign(o.layer_windows, o.layer_windows + o.n_layer_windows);
  if (o.kv_rotate != -1) result.kv_rotate = enum_of(o.kv_rotate, true, "kv_rotate");
  if (o.softmax != RUNNEL_SOFTMAX_MODEL)
    result.softmax = enum_of(o.softmax, Softmax::kOffByOne, "softmax");
  result.chunk = o.chunk;
  result.draft = o.draft;
  if (o.pin != nullptr) result.pin = text_of(o.pin, o.pin_bytes, "pin");
  const auto pinned = tokens_of(o.pin_tokens, o.n_pin_tokens);
  result.pin_tokens.assign(pinned.begin(), pinned.end());
  result.start_position = o.start_position;
  result.sampling = sampling_options(o.sampling);
  return result;
}

}  // namespace runnel::c

extern "C" {

void runnel_model_options_init(runnel_model_options* options, size_t size) {
  runnel::c::init_struct(runnel::c::default_model_options(), options, size);
}

void runnel_sampling_init(runnel_sampling* sampling, size_t size) {
  runnel::c::init_struct(runnel::c::default_sampling(), sampling, size);
}

void runnel_stream_options_init(runnel_stream_options* options, size_t size) {
  runnel::c::init_struct(runnel::c::default_stream_options(), options, size);
}

}  // extern "C"

#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <new>
#include <utility>

#include "engine/internals.h"
#include "engine/snapshot.h"
#include "hf/folder.h"
#include "model/architecture.h"
#include "model/cache_layers.h"
#include "model/key_balance.h"
#include "model/read_ahead.h"
#include "sampling/sampler.h"

namespace runnel {
namespace {

constexpr std::int64_t kLargestDefaultWindow = 2043;  // with 4 sinks and the token itself: 2048
constexpr int kLargestChunk = 8192;
constexpr std::int64_t kLastStart = std::int64_t{1} << 60;

void check_option(bool is_good, std::string_view name, std::string_view wanted,
                  std::int64_t found) {
  if (!is_good)
    throw Error(fmt::format("stream option {}: want {}, found {}", name, wanted, found));
}

// The largest window for which no position inside the cache exceeds what the model was trained to
// see.
std::int64_t default_window(const Config& config, int sinks) {
  const std::int64_t window =
      std::min<std::int64_t>(config.trained_sight() - 1 - sinks, kLargestDefaultWindow);
  if (window < 1) {
    throw Error(
        fmt::format("{} sinks (with the pinned text) leave no window in the trained context of {} "
                    "tokens: pin less, or give the window",
                    sinks, config.trained_sight()));
  }
  return window;
}

PackingProgress packing_progress(const gguf::File& file, const ModelOptions& options) {
  if (!options.progress) return {};
  return [&](std::size_t done, std::size_t all) {
    if (!options.progress(done, all))
      throw Error(fmt::format("{}: loading was stopped at {} of {} bytes", file.name(), done, all));
  };
}

void resolve_cache_type(const Model::Internals& model, StreamOptions& o) {
  const bool has_codes = o.kv_type == KvType::kQ4_0;
  if (!o.kv_rotate) o.kv_rotate = has_codes;
  if (*o.kv_rotate && !has_codes && o.kv_type != KvType::kQ8_0)
    throw Error("stream option kv_rotate: want kv_type q8_0 or q4_0, which it is of use to");
  if ((has_codes || *o.kv_rotate) && model.device != nullptr) {
    throw Error(
        fmt::format("stream option kv_type: want f32, f16, bf16, or q8_0 without rotation "
                    "where layers run on {}, found {}",
                    model.device->description().name, has_codes ? "q4_0" : "q8_0 with rotation"));
  }
}

// Fewer tokens than rows are common, where rows are padding. A token without a row cannot be fed.
void check_vocabulary(const Model::Internals& model) {
  const int n_rows = model.config.vocabulary_size;
  if (model.tokenizer == nullptr || model.tokenizer->size() <= n_rows) return;
  throw Error(fmt::format(
      "{}: tokenizer.ggml.tokens: want at most {} tokens, one for each row of token_embd.weight, "
      "found {}",
      model.file.name(), n_rows, model.tokenizer->size()));
}

// What is read here and there before weights are packed, all at once: one after the other, each
// would bring megabytes around it and wait for them.
void ask_for_small_parts(const gguf::File& file) {
  if (!file.is_mapped()) return;
  for (const gguf::Tensor& tensor : file.tensors()) {
    const bool is_vector = tensor.n_dims == 1;
    ask_for(is_vector ? tensor.data
                      : tensor.data.first(std::min(tensor.data.size(), kSampleBytes)));
  }
}

}  // namespace

const Tokenizer& Model::Internals::vocabulary() const {
  if (tokenizer == nullptr)
    throw Error(fmt::format("{}: the file has no vocabulary (tokenizer.ggml.model)", file.name()));
  return *tokenizer;
}

Decoder& Model::Internals::decoder_for(int n_tokens) const {
  if (decoder != nullptr && decoder->max_tokens() >= n_tokens) return *decoder;
  decoder.reset();  // before the larger one takes its memory
  try {
    decoder = std::make_unique<Decoder>(config, weights, *threads, stages, n_tokens);
  } catch (const std::bad_alloc&) {
    throw Error(fmt::format("{}: not enough memory for steps of {} tokens", file.name(), n_tokens));
  }
  return *decoder;
}

std::span<const std::vector<float>> Model::Internals::key_balances() const {
  std::call_once(has_balances, [this] { balances = runnel::key_balances(config, weights); });
  return balances;
}

CachePolicy cache_policy(const StreamOptions& resolved) {
  return {resolved.sinks, resolved.policy == Policy::kDense ? kUnbounded : *resolved.window};
}

namespace {

// Where nothing is evicted, the first tokens have a place of their own only if it is a better one.
CachePolicy endless_policy(const StreamOptions& resolved) {
  const bool has_codes = resolved.kv_type == KvType::kQ4_0 || *resolved.kv_rotate;
  return {has_codes ? std::max(resolved.sinks, kFirstMeanKey) : 0, kUnbounded};
}

}  // namespace

CacheShape cache_shape(const Model::Internals& internals, const StreamOptions& resolved) {
  const Config& config = internals.config;
  const bool is_recomputed = resolved.policy == Policy::kRecompute;
  const bool is_endless = is_recomputed || resolved.policy == Policy::kDense;
  const CachePolicy policy = is_endless ? endless_policy(resolved) : cache_policy(resolved);
  CacheShape shape = {.type = resolved.kv_type,
                      .is_rotated = *resolved.kv_rotate,
                      .chunk = resolved.chunk,
                      .guesses = resolved.draft,
                      .capacity = is_recomputed ? resolved.sinks + *resolved.window + 1 : 1024};
  if (resolved.window) shape.context = resolved.sinks + *resolved.window + 1;
  shape_layers(config, policy, shape, resolved.layer_windows);
  for (const Stage& stage : internals.stages)
    shape.sources.insert(shape.sources.end(), static_cast<std::size_t>(stage.n_layers),
                         stage.device->cache_memory());
  return shape;
}

KvCache take_cache(const Model::Internals& internals, CacheShape shape) {
  if (shape.is_rotated) shape.balances = internals.key_balances();
  return KvCache(std::move(shape));
}

Model::Model(std::unique_ptr<Internals> internals) : internals_(std::move(internals)) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

std::unique_ptr<Model::Internals> Model::Internals::load(gguf::File opened,
                                                         std::string fallback_name,
                                                         const ModelOptions& options,
                                                         MadeModel made) {
  check_option(options.threads >= 0 && options.threads <= 1024, "threads", "0 to 1024",
               options.threads);
  auto internals =
      std::unique_ptr<Internals>(new Internals{.made = std::move(made), .file = std::move(opened)});
  const gguf::File& file = internals->file;
  internals->name = file.get_string("general.name", fallback_name);
  // The tables of a large vocabulary take as long as its weights, and neither needs the other.
  std::future<std::unique_ptr<Tokenizer>> tokenizer;
  if (file.find("tokenizer.ggml.model") != nullptr)
    tokenizer = std::async([&file] { return Tokenizer::from(file); });
  if (!options.vocabulary_only) internals->take_weights(options);
  if (tokenizer.valid()) internals->tokenizer = tokenizer.get();
  if (options.vocabulary_only) {
    internals->vocabulary();  // an Error when there is none
  } else {
    check_vocabulary(*internals);
    file.drop_header_pages();
    internals->threads->watch_crowding();
  }
  return internals;
}

void Model::Internals::take_weights(const ModelOptions& options) {
  if (file.tensors().empty() && file.unreadable_tensors().empty()) {
    throw Error(
        fmt::format("{}: the file holds a vocabulary only: tokenize and detokenize work "
                    "with it, running needs weights",
                    file.name()));
  }
  if (options.exact && options.device != "cpu")
    throw Error(fmt::format("exact: want the device cpu, found {}", options.device));
  config = read_config(file);
  file.check_readable();
  ask_for_small_parts(file);
  // Now, because whoever replaces the file's content later changes what is mapped.
  fingerprint = runnel::fingerprint(file);
  weights = load_weights(file, config);
  if (made.data) weights.stored = StoredPages::kGo;
  threads = std::make_unique<ThreadPool>(options.threads);
  choose_devices(options);
  if (options.exact) return;  // kernels multiply what is not packed as floats
  const bool is_kept = !options.packed_cache.empty() && device == nullptr;
  if (is_kept) {
    packed_cache = std::make_unique<PackedCache>(options.packed_cache, file, fingerprint);
    if (packed_cache->give(weights, *threads)) return;
  }
  try {
    place_weights(weights, *threads, stages, packing_progress(file, options));
  } catch (const std::bad_alloc&) {
    throw Error(fmt::format("{}: want {} bytes of memory for its weights, and there is not so much",
                            file.name(), weights.bytes));
  }
  if (is_kept) packed_cache->keep(weights);
}

Model Model::load(const std::filesystem::path& path, const ModelOptions& options) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    hf::FileInMemory file = hf::read_folder(path);
    return Internals::take({std::move(file.data), file.n_bytes}, path.string(), options);
  }
  return Model(Internals::load(gguf::File::open(path), path.stem().string(), options));
}

Model Model::load(std::span<const std::byte> bytes, std::string name, const ModelOptions& options) {
  return Model(Internals::load(gguf::File::parse(bytes, name), name, options));
}

Model Model::Internals::take(MadeModel made, std::string name, const ModelOptions& options) {
  gguf::File file = gguf::File::parse(made.bytes(), name);
  return Model(load(std::move(file), std::move(name), options, std::move(made)));
}

StreamOptions Model::resolve(const StreamOptions& options) const {
  StreamOptions o = options;
  const Config& config = internals_->config;
  if (!internals_->has_weights())
    throw Error(fmt::format("{}: only the vocabulary was loaded", internals_->file.name()));
  check_option(o.sinks >= 0 && o.sinks <= (1 << 24), "sinks", "0 to 16777216", o.sinks);
  check_option(o.chunk >= 1 && o.chunk <= kLargestChunk, "chunk", "1 to 8192", o.chunk);
  check_option(!o.window || (*o.window >= 1 && *o.window <= (1 << 24)), "window", "1 to 16777216",
               o.window.value_or(0));
  resolve_cache_type(*internals_, o);
  check_option(o.draft >= 0 && o.draft <= 64, "draft", "0 to 64", o.draft);
  if (o.draft > 0 && config.has_state()) {
    throw Error(
        fmt::format("stream option draft: want 0, since architecture {} keeps a state from "
                    "which a wrong guess cannot be taken back, found {}",
                    config.architecture, o.draft));
  }
  check_option(o.start_position >= 0 && o.start_position <= kLastStart, "start_position",
               "0 to 2^60", o.start_position);
  check_sampling(o.sampling);
  if (!o.softmax) o.softmax = config.softmax;
  if (!o.pin.empty() && !o.pin_tokens.empty())
    throw Error("stream options: want pin or pin_tokens, found both");
  if (!o.pin.empty()) o.pin_tokens = tokenize(o.pin);
  o.pin.clear();
  const auto n_pinned = static_cast<int>(o.pin_tokens.size());
  if (o.policy == Policy::kWindow && n_pinned > 0) {
    throw Error(
        "stream options: the window policy keeps no sinks, so nothing can be pinned; want policy "
        "sink");
  }
  const bool has_sinks = o.policy == Policy::kSink || o.policy == Policy::kRecompute;
  o.sinks = has_sinks ? std::max(o.sinks, n_pinned) : 0;
  resolve_layer_windows(config, o);
  if (!o.layer_windows.empty() && internals_->device != nullptr) {
    throw Error(
        fmt::format("stream option layer_windows: want one window for all layers where some run "
                    "on {}",
                    internals_->device->description().name));
  }
  if (o.policy == Policy::kDense) {
    o.window.reset();
  } else if (!o.window) {
    o.window = default_window(config, o.sinks);
  }
  return o;
}

std::size_t Model::stream_bytes(const StreamOptions& options) const {
  return KvCache::bytes_of(cache_shape(*internals_, resolve(options)));
}

std::vector<Token> Model::tokenize(std::string_view text, bool add_bos, bool parse_special) const {
  return internals_->vocabulary().encode(text,
                                         {.add_bos = add_bos, .parse_special = parse_special});
}

std::string Model::detokenize(std::span<const Token> tokens) const {
  const Tokenizer& vocabulary = internals_->vocabulary();
  for (const Token token : tokens) {
    if (token < 0 || token >= vocabulary.size()) {
      throw Error(fmt::format("token: want 0 to {}, found {}", vocabulary.size() - 1, token));
    }
  }
  Detokenizer detokenizer(vocabulary);
  std::string text;
  for (const Token token : tokens) text += detokenizer.push(token);
  return text + detokenizer.flush();
}

std::string Model::token_text(Token token) const {
  return internals_->vocabulary().decode(token, true);
}

std::optional<Token> Model::bos() const { return internals_->vocabulary().bos(); }
std::optional<Token> Model::eos() const { return internals_->vocabulary().eos(); }
bool Model::is_end_of_generation(Token token) const {
  return internals_->vocabulary().is_end_of_generation(token);
}

const std::string& Model::name() const { return internals_->name; }
const std::string& Model::architecture() const { return internals_->config.architecture; }
int Model::vocabulary_size() const {
  return internals_->has_weights() ? internals_->config.vocabulary_size
                                   : internals_->vocabulary().size();
}
int Model::trained_context() const { return internals_->config.trained_context; }
int Model::layers() const { return internals_->config.n_layers; }
std::size_t Model::weight_bytes() const { return internals_->weights.bytes; }
int Model::threads() const { return internals_->threads ? internals_->threads->size() : 0; }
const char* Model::instruction_set() const { return kernels::best_table().name; }

}  // namespace runnel

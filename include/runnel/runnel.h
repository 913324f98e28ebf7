// runnel: large language models on endless streams, in constant memory and at constant speed.
//
//   runnel::Model model = runnel::Model::load("model.gguf");
//   runnel::Stream stream = model.open({.sinks = 4});
//   stream.feed("Once upon a time");
//   for (;;) std::cout << stream.next().text << std::flush;   // never stops, never grows
//
// A Model is shared and read-only after loading; it must outlive its streams. A Stream belongs to
// one thread at a time. Calls that compute use the model's worker threads: one such call runs at a
// time, others wait for it. Every function may throw runnel::Error for what comes from outside;
// after a throw the stream is as it was before the call, unless the function says otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runnel/constraint.h"
#include "runnel/error.h"
#include "runnel/options.h"

namespace runnel {

class Stream;
struct Snapshot;

struct ModelOptions {
  int threads = 0;               // 0: one for each core this process may use
  bool vocabulary_only = false;  // load the tokenizer alone; such a model opens no streams
  // Called while weights are packed, with the bytes that are done and those of all; false ends the
  // load with an Error.
  std::function<bool(std::size_t done, std::size_t all)> progress;
  // Who runs the layers: "cpu"; "gpu", the first GPU that OpenCL has; "opencl:N", a device of
  // devices().
  std::string device = "cpu";
  // So many run there, the rest on the processor; default: as many as the device's memory holds
  // beside a stream's cache. Error: not one.
  std::optional<int> device_layers;
  std::uint64_t device_memory = 0;  // bytes taken there at most; 0: what it has
  // Quantised weights are multiplied with floats, not with inputs rounded to int8 and the like: as
  // near to exact arithmetic as floats come, and several times slower. With KvType::kF32 attention
  // is computed so as well. On the processor only.
  bool exact = false;
  // A folder where weights are kept as they were packed, to be mapped when the same file is loaded
  // again: sooner, and one copy in memory for all processes. Empty: none. Error: no such folder can
  // be made. On the processor only.
  std::string packed_cache;
};

// What OpenCL offers on this machine, GPUs first. Empty, and why in *reason, where that is nothing.
struct DeviceInfo {
  std::string id;  // "opencl:0"
  std::string name;
  std::string driver;
  bool is_gpu = false;
  std::uint64_t memory_bytes = 0;
  std::uint64_t largest_buffer_bytes = 0;
  int units = 0;
  std::string extensions;  // separated by blanks
};
std::vector<DeviceInfo> devices(std::string* reason = nullptr);

class Model {
 public:
  // Maps a GGUF file (of a split model, its first), or the files of a folder as transformers saves
  // it (config.json, safetensors, tokenizer.json), and packs, in memory, the matrices that the
  // processor's kernels have a form of their own for; other weights are read from the mapping.
  // Error: neither of these, an unsupported architecture, tokenizer or tensor type, a tensor of the
  // wrong shape, a device that is not there or lacks what the model needs.
  static Model load(const std::filesystem::path& path, const ModelOptions& options = {});

  // The same from a file's bytes in memory, which must outlive the model; `name` stands for the
  // path in errors.
  static Model load(std::span<const std::byte> bytes, std::string name,
                    const ModelOptions& options = {});

  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;
  ~Model();

  // Memory of the stream is taken here, whole; feeding and generating take no more (but kDense
  // grows). Error: options out of range, or a window and sinks that do not fit the trained context
  // (when window is not given).
  Stream open(const StreamOptions& options = {}) const;
  // A stream saved by Stream::save, continuing with exactly the tokens it would have produced.
  // Error: damaged file (checksum), another model (fingerprint), or an unknown version.
  Stream resume(const std::filesystem::path& path) const;
  // The same from what Stream::save_bytes() gave, or from a saved file's bytes.
  Stream resume(std::span<const std::byte> bytes) const;

  // The options with every default filled in, as open() will use them: window set, sinks covering
  // the pin.
  StreamOptions resolve(const StreamOptions& options) const;
  // Bytes of the keys and values of such a stream, most of what open() takes.
  std::size_t stream_bytes(const StreamOptions& options) const;

  // `parse_special`: control tokens written in the text become tokens.
  std::vector<Token> tokenize(std::string_view text, bool add_bos = true,
                              bool parse_special = false) const;
  std::string detokenize(std::span<const Token> tokens) const;
  std::string token_text(Token token) const;  // bytes of one token; may be half a UTF-8 character
  std::optional<Token> bos() const;           // of the vocabulary, where it has one
  std::optional<Token> eos() const;
  bool is_end_of_generation(Token token) const;  // eos, eot, <|im_end|>, <end_of_turn>, ...

  const std::string& name() const;          // general.name, or the file's name
  const std::string& architecture() const;  // "llama"
  int vocabulary_size() const;
  int trained_context() const;  // tokens
  int layers() const;
  std::size_t weight_bytes() const;  // of the weights, as the file stores them
  int threads() const;
  // The device that runs layers beside or instead of the processor, and what it has done so far.
  struct DeviceUse {
    std::string name;
    bool is_cpu = true;              // the processor runs all layers
    int layers = 0;                  // on the device
    std::uint64_t memory_bytes = 0;  // taken there: weights, caches, buffers
    std::uint64_t launches = 0;
    double seconds = 0;  // in steps, until their results came back
  };
  DeviceUse device() const;
  const char* instruction_set() const;  // the kernels chosen at start: "avx512"

  // For the other parts of this library; not part of the public interface.
  struct Internals;
  const Internals& internals() const { return *internals_; }

 private:
  explicit Model(std::unique_ptr<Internals> internals);
  Stream resume(Snapshot snapshot, const std::string& name) const;
  std::unique_ptr<Internals> internals_;
};

class Stream {
 public:
  Stream(Stream&&) noexcept;
  Stream& operator=(Stream&&) noexcept;
  ~Stream();

  struct Step {
    Token token = 0;
    std::string text;  // what became complete with this token: never half a UTF-8 character
    float log_probability =
        0;  // natural log, under the model's own distribution (before sampling options)
    bool end_of_generation =
        false;  // the model says it has finished (a stream may go on all the same)
  };
  // One token: sampled from what the stream has seen, then fed back to it.
  // Error: nothing was fed yet and the vocabulary has no BOS to begin with.
  Step next();
  // One token for each of several different streams of one model, in one step: the weights are read
  // once for all. Each gets exactly what its own next() would have given. Error: streams of
  // different models, or one twice.
  static std::vector<Step> next(std::span<Stream* const> streams);
  // The same where some streams read instead: what feed() and next() would have done with each, in
  // one step. Steps of those that read are empty. Error: as feed() and next(), or more tokens to
  // read than the stream's chunk; no stream has moved then.
  struct Work {
    Stream* stream = nullptr;
    std::span<const Token> read;  // empty: write a token
  };
  static std::vector<Step> step(std::span<const Work> work);
  // A token of the caller's choice in place of a sampled one: otherwise as next(), whose errors it
  // has. The sampler's random state stays. Error: not a token of the vocabulary.
  Step push(Token token);

  // A stream of its own that goes on exactly as this one would: cache, random state, guesses and
  // the half-finished character are copied. Error: not enough memory.
  Stream fork() const;

  // Ingests any amount of text or tokens in chunks; the first call begins the stream with BOS when
  // the model has one. `progress` is called after each chunk with the tokens ingested so far;
  // returning false stops there. Returns the number of tokens ingested; chunks already ingested
  // stay, also when a later one throws. Text of consecutive calls is tokenized separately.
  using Progress = std::function<bool(std::int64_t)>;
  std::int64_t feed(std::string_view text, const Progress& progress = {});
  std::int64_t feed(std::span<const Token> tokens, const Progress& progress = {});

  // The tokens that feed(text) would ingest now.
  std::vector<Token> tokenize(std::string_view text) const;

  // Ingests tokens and returns for each its negative log-likelihood (natural log) given all before
  // it; the stream's very first token has none, so a fresh stream returns tokens.size() - 1 values.
  std::vector<float> score(std::span<const Token> tokens, const Progress& progress = {});

  // Logits for the next token, [vocabulary_size]; empty before anything was fed. Valid until the
  // next call.
  std::span<const float> logits() const;
  // The n likeliest next tokens with their natural log probability under the model's own
  // distribution, likeliest first, the smaller token first among equals. Empty before anything was
  // fed; at most the whole vocabulary.
  std::vector<std::pair<Token, float>> top_logprobs(int n) const;

  // What the last tokens looked at. Weights of positions that a layer's token does not see are 0;
  // a row sums to one, or to less with a zero or learned sink.
  struct Attention {
    int layers = 0;
    int heads = 0;
    std::vector<std::int64_t> queries;    // positions of the tokens, ascending
    std::vector<std::int64_t> positions;  // of the keys, ascending: sinks, window, the tokens
    std::vector<float> weights;           // [queries, layers, heads, positions]
  };
  // Of the last `n_last` tokens, which pass the model once more; the stream stays as it is. Error:
  // tokens not fed or no longer visible, more than chunk less draft (16 with kv_type kQ4_0), more
  // than 1 GiB of weights, or, once something is evicted, more than one with kRecompute.
  Attention attention(int n_last = 1) const;
  // Text still waiting for the rest of a UTF-8 character.
  std::string flush_text();

  std::int64_t position() const;  // tokens the stream has seen: the position of the next one
  std::int64_t evicted() const;   // tokens no longer visible
  std::int64_t horizon() const;   // the oldest position, sinks aside, that the next token will see
  std::size_t bytes() const;      // memory of the stream's keys and values
  // Tokens guessed ahead since the stream was opened or resumed (StreamOptions::draft), and those
  // of them that came.
  std::int64_t guessed() const;
  std::int64_t guessed_right() const;
  const StreamOptions& options() const;       // resolved
  std::vector<Token> visible_tokens() const;  // sinks, then window, in order of position

  void set_sampling(const SamplingOptions& sampling);
  // What next() and push() must keep to from here on; null: nothing. feed() does not move it. A
  // fork has a copy; a saved stream has none.
  void set_constraint(std::unique_ptr<TokenConstraint> constraint);

  // Writes everything (sinks, window, position, sampler and random state, the half-finished
  // character) to one file, atomically: the path holds either the old file or the new one, whole,
  // whenever the machine stops.
  void save(const std::filesystem::path& path) const;
  // The bytes of that file.
  std::vector<std::byte> save_bytes() const;

 private:
  friend class Model;
  struct State;
  static void prepare(std::span<const Work> work, int n_tokens);
  Snapshot snapshot() const;
  explicit Stream(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace runnel

// Several policies over the same tokens at once (the paper's figures 3 and 5): for each policy the
// negative log-likelihood of every token, in a run that can be stopped and resumed.
//
// Dense attention costs the square of the stream's length and recomputation the square of the
// window for each token, so both are limited: a dense stream ends after `dense_tokens`, and
// recomputation is done for `recompute_tokens` positions past the cache, evenly spread on a
// logarithmic scale. Up to the cache's size, where nothing is evicted, all positions are there:
// they are the dense ones.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/progress.h"
#include "runnel/runnel.h"

namespace runnel::eval {

// One policy's values. nll[i] is for the token at position positions[i], given all it sees.
struct NllSeries {
  StreamOptions options;  // resolved
  std::vector<std::int64_t> positions;
  std::vector<float> nll;
  double seconds = 0;           // of computing
  std::size_t cache_bytes = 0;  // the most so far

  std::string name() const;
  std::int64_t cache_tokens() const { return options.sinks + options.window.value_or(0); }
};

struct PerplexityOptions {
  // Each with `stream`'s numbers; the window policy keeps as many tokens as the sink policy in all.
  std::vector<Policy> policies = {Policy::kSink};
  StreamOptions stream;
  std::int64_t dense_tokens = 0;         // 0: all
  std::int64_t recompute_tokens = 1000;  // past the cache; 0: all
  // Where an interrupted run keeps its state, and takes it up again; empty: nowhere.
  std::filesystem::path state;
  double seconds_between_saves = 60;
};

class PerplexityRun {
 public:
  // Resumes what `options.state` holds. Error: a state of other options, other tokens or another
  // model. Borrows model and tokens.
  PerplexityRun(const Model& model, std::span<const Token> tokens, PerplexityOptions options);

  // Goes on until the tokens are used up or `progress` says stop (the state is saved then). True
  // when everything was measured.
  bool run(const Progress& progress);

  std::int64_t position() const { return position_; }  // tokens done
  const std::vector<NllSeries>& series() const { return series_; }
  void save() const;  // nothing without a state folder

 private:
  struct StateFiles;
  void open_streams();
  void choose_samples(const NllSeries& series);
  void resume();
  void score_block(std::span<const Token> block);
  void score_policy(std::size_t i, std::span<const Token> block);
  void recompute_block(NllSeries& series, std::int64_t end);
  float recompute(const StreamOptions& options, std::int64_t position) const;

  const Model& model_;
  std::span<const Token> tokens_;
  PerplexityOptions options_;
  std::vector<NllSeries> series_;
  std::vector<std::optional<Stream>> streams_;  // none for recomputation
  std::vector<std::int64_t> samples_;           // positions to recompute, ascending
  std::int64_t position_ = 0;
};

// The numbers a stream of this policy gets, resolved: window attention keeps S + W tokens, so that
// policies are compared at equal cache.
StreamOptions options_of(const Model& model, const StreamOptions& base, Policy policy);

}  // namespace runnel::eval

// A stream: tokens in, tokens out, for ever.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/stream_state.h"

namespace runnel {

Stream::State::State(const Model::Internals& internals, const StreamOptions& resolved,
                     KvCache taken)
    : model(internals),
      options(resolved),
      cache(std::move(taken)),
      history(cache_policy(resolved)),
      sampler(resolved.sampling, internals.config.vocabulary_size),
      logits(internals.logits_row()),
      draft_length(resolved.draft) {
  cache.set_origin(resolved.start_position);
  if (model.tokenizer != nullptr) detokenizer.emplace(*model.tokenizer);
  const auto vocabulary = static_cast<std::size_t>(model.config.vocabulary_size);
  const auto n_guesses = static_cast<std::size_t>(std::min(options.draft, options.chunk - 1));
  tried.reserve(n_guesses + 1);
  ahead.reserve(n_guesses);
  ahead_logits.reserve(n_guesses * vocabulary);
  last_state.reserve(static_cast<std::size_t>(model.config.dim));
  next_state.resize(static_cast<std::size_t>(model.config.dim));
  if (options.window)
    visible.reserve(static_cast<std::size_t>(options.sinks + *options.window + 1));
}

// A vector that is copied has no room to grow, so the copy is made as the constructor makes it.
std::unique_ptr<Stream::State> Stream::State::fork() const {
  auto copy = std::make_unique<State>(model, options, cache.clone());
  copy->history = history;
  copy->sampler.set_random_state(sampler.random_state());
  if (constraint) copy->constraint = constraint->clone();
  copy->detokenizer = detokenizer;
  copy->has_logits = has_logits;
  copy->last_state.assign(last_state.begin(), last_state.end());
  if (has_logits && last_state.empty()) copy->logits->write(logits->read());
  copy->draft_length = draft_length;
  copy->ahead.assign(ahead.begin(), ahead.end());
  copy->n_right = n_right;
  copy->ahead_logits.assign(ahead_logits.begin(), ahead_logits.end());
  copy->all_guessed = all_guessed;
  copy->all_right = all_right;
  return copy;
}

void Stream::State::check(std::span<const Token> tokens) const {
  for (const Token token : tokens) {
    if (token < 0 || token >= model.config.vocabulary_size) {
      throw Error(
          fmt::format("token: want 0 to {}, found {}", model.config.vocabulary_size - 1, token));
    }
  }
}

// At most a chunk of tokens passes the model. The caller holds its mutex. Guesses not taken so far
// are forgotten. The visitor is shown all logits, where those are wanted.
void Stream::State::run(std::span<const Token> tokens, Segment::Logits wanted,
                        const LogitsVisitor& on_logits) {
  ahead.clear();
  const std::int64_t n_seen = history.position() + static_cast<std::int64_t>(tokens.size()) - 1;
  const bool is_fresh =
      cache.position() == history.position() && cache_policy(options).evicted(n_seen) == 0;
  if (options.policy == Policy::kRecompute && !is_fresh) {
    // Nothing of a token stays in the cache, so those whose logits nobody wants need not pass.
    const std::size_t first = on_logits ? 0 : tokens.size() - 1;
    for (const Token token : tokens.first(first)) history.push(token);
    for (std::size_t i = first; i < tokens.size(); ++i) {
      if (!on_logits) {
        recompute(tokens[i], {});
        continue;
      }
      recompute(tokens[i], [&](std::size_t, std::size_t, std::span<const float> scores) {
        on_logits(0, i, scores);
      });
    }
    has_logits = true;
    last_state.clear();
    return;
  }
  const Segment only = segment(tokens, wanted);
  decoder().step({&only, 1}, on_logits);
  passed(only);
}

Segment Stream::State::segment(std::span<const Token> tokens, Segment::Logits wanted) {
  return {&cache, tokens, *options.softmax, wanted, logits.get(), next_state.data()};
}

void Stream::State::passed(const Segment& segment) {
  for (const Token token : segment.tokens) history.push(token);
  has_logits = true;
  last_state.clear();
  if (segment.logits == Segment::Logits::kLater)
    last_state.assign(next_state.begin(), next_state.end());
}

// Those that nobody wanted when the last token passed. The caller holds the model's mutex.
void Stream::State::make_logits() {
  if (last_state.empty()) return;
  decoder().logits_of(last_state, *logits);
  last_state.clear();
}

std::span<const float> Stream::State::next_logits() {
  if (!has_logits) return {};
  const std::lock_guard lock(model.mutex);
  make_logits();
  return logits->read();
}

// The yardstick: everything the token sees passes the model afresh, from position 0.
void Stream::State::recompute(Token token, const LogitsVisitor& on_logits) {
  history.visible(visible);
  visible.push_back(token);
  cache.clear();
  for (std::size_t first = 0; first < visible.size();
       first += static_cast<std::size_t>(options.chunk)) {
    const std::size_t n = std::min(visible.size() - first, static_cast<std::size_t>(options.chunk));
    const bool is_last = first + n == visible.size();
    const Segment segment = {&cache, std::span<const Token>(visible).subspan(first, n),
                             *options.softmax,
                             is_last ? Segment::Logits::kLast : Segment::Logits::kNone,
                             on_logits ? nullptr : logits.get()};
    decoder().step({&segment, 1}, on_logits);
  }
  history.push(token);
}

std::int64_t Stream::State::feed(std::span<const Token> tokens, const Progress& progress) {
  check(tokens);
  std::int64_t n_fed = 0;
  while (n_fed < static_cast<std::int64_t>(tokens.size())) {
    const std::size_t n = std::min(tokens.size() - static_cast<std::size_t>(n_fed),
                                   static_cast<std::size_t>(options.chunk));
    {
      const std::lock_guard lock(model.mutex);
      const auto left = tokens.subspan(static_cast<std::size_t>(n_fed));
      run(left.first(n), n < left.size() ? Segment::Logits::kLater : Segment::Logits::kLast);
    }
    n_fed += static_cast<std::int64_t>(n);
    if (detokenizer) detokenizer->restore({.pending = {}, .at_start = false});
    if (progress && !progress(n_fed)) break;
  }
  return n_fed;
}

float Stream::State::nll(std::span<const float> scores, Token token) const {
  const float total =
      kernels::best_table().log_sum_exp(scores.data(), static_cast<int>(scores.size()));
  check_logits(total);
  return total - scores[static_cast<std::size_t>(token)];
}

void Stream::State::check_logits(float log_sum) const {
  if (std::isfinite(log_sum)) return;
  throw Error(
      fmt::format("logits at position {}: want finite numbers, found infinity or none: the "
                  "model's weights are damaged",
                  options.start_position + history.position()));
}

Stream Model::open(const StreamOptions& options) const {
  const StreamOptions resolved = resolve(options);
  Stream stream(std::make_unique<Stream::State>(
      *internals_, resolved, take_cache(*internals_, cache_shape(*internals_, resolved))));
  if (!resolved.pin_tokens.empty()) stream.feed(resolved.pin_tokens);
  return stream;
}

Stream::Stream(std::unique_ptr<State> state) : state_(std::move(state)) {}
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream&&) noexcept = default;
Stream::~Stream() = default;

namespace {

void check_can_go_on(std::span<const std::uint64_t> allowed) {
  if (std::any_of(allowed.begin(), allowed.end(), [](std::uint64_t word) { return word != 0; }))
    return;
  throw Error("stream: no token of the vocabulary goes on as the constraint asks");
}

}  // namespace

// All of a step that may fail, before the sampler moves: memory, and BOS where nothing was fed yet.
void Stream::State::prepare_step() {
  const std::lock_guard lock(model.mutex);
  decoder();
  if (options.policy != Policy::kRecompute) cache.reserve(1 + options.draft);
  if (constraint) check_can_go_on(constraint->allowed());
  if (has_logits) return make_logits();
  const std::optional<Token> bos = model.tokenizer ? model.tokenizer->bos() : std::nullopt;
  if (!bos) throw Error("stream: nothing was fed yet, and the vocabulary has no BOS to begin with");
  check({&*bos, 1});
  run({&*bos, 1});
}

// Rows of the output matrix that no token of the vocabulary belongs to are padding: never sampled.
std::size_t Stream::State::n_writable() const {
  const auto vocabulary = static_cast<std::size_t>(model.config.vocabulary_size);
  if (model.tokenizer == nullptr) return vocabulary;
  return std::min(vocabulary, static_cast<std::size_t>(model.tokenizer->size()));
}

Choice Stream::State::choice() {
  if (sampler.needs_visible_tokens()) history.visible(visible);
  return {.logits = logits.get(),
          .sampler = &sampler,
          .n_writable = n_writable(),
          .visible = visible,
          .allowed = constraint ? constraint->allowed() : std::span<const std::uint64_t>()};
}

Chosen Stream::State::ask(const Choice& choice) const {
  const std::lock_guard lock(model.mutex);
  Chosen chosen;
  decoder().sample({&choice, 1}, {&chosen, 1});
  return chosen;
}

Stream::Step Stream::State::step_of(const Chosen& chosen) {
  check_logits(chosen.log_sum);
  Step step = {.token = chosen.token, .log_probability = chosen.logit - chosen.log_sum};
  if (detokenizer) {
    step.text = detokenizer->push(step.token);
    step.end_of_generation = model.tokenizer->is_end_of_generation(step.token);
  }
  return step;
}

// The sampled token becomes part of the stream.
void Stream::State::take(Token token) {
  if (take_ahead(token)) return;
  const std::lock_guard lock(model.mutex);
  if (options.draft > 0 && options.policy != Policy::kRecompute) return guess_after(token);
  run({&token, 1});
}

bool Stream::State::take_ahead(Token token) {
  if (n_right >= ahead.size() || ahead[n_right] != token) {
    if (!ahead.empty())
      draft_length.learn(static_cast<int>(ahead.size()), static_cast<int>(n_right));
    ahead.clear();
    return false;
  }
  const auto vocabulary = static_cast<std::size_t>(model.config.vocabulary_size);
  keep(std::span<const float>(ahead_logits).subspan(n_right * vocabulary, vocabulary));
  cache.advance(1);
  history.push(token);
  ++n_right;
  ++all_right;
  return true;
}

// Feeds the token with guesses behind it, and goes back to where the token alone would have come.
void Stream::State::guess_after(Token token) {
  constexpr std::size_t kPattern = 3;  // fewer match by chance
  history.visible(visible);
  visible.push_back(token);
  const auto most = static_cast<std::size_t>(std::min(draft_length.take(), options.chunk - 1));
  const std::span<const Token> guesses = look_up(visible, kPattern, most);
  tried.assign(1, token);
  tried.insert(tried.end(), guesses.begin(), guesses.end());
  ahead_logits.clear();
  const Segment segment = {&cache, tried, *options.softmax, Segment::Logits::kAll};
  decoder().step({&segment, 1}, [&](std::size_t, std::size_t i, std::span<const float> next) {
    if (i == 0) return keep(next);
    ahead_logits.insert(ahead_logits.end(), next.begin(), next.end());
  });
  cache.rewind(static_cast<int>(guesses.size()));
  history.push(token);
  ahead.assign(tried.begin() + 1, tried.end());
  n_right = 0;
  all_guessed += std::ssize(ahead);
}

Stream::Step Stream::next() {
  state_->prepare_step();
  const Step step = state_->step_of(state_->ask(state_->choice()));
  if (state_->constraint) state_->constraint->accept(step.token);
  state_->take(step.token);
  return step;
}

Stream::Step Stream::push(Token token) {
  state_->check({&token, 1});
  state_->prepare_step();
  if (state_->constraint) state_->constraint->accept(token);
  Step step = state_->step_of(state_->ask(state_->choice_of(token)));
  state_->take(token);
  return step;
}

Stream Stream::fork() const { return Stream(state_->fork()); }

std::vector<Token> Stream::tokenize(std::string_view text) const {
  const bool is_first = position() == options().start_position;
  return state_->model.vocabulary().encode(text, {.add_bos = is_first, .space_prefix = is_first});
}

std::int64_t Stream::feed(std::string_view text, const Progress& progress) {
  return state_->feed(tokenize(text), progress);
}

std::int64_t Stream::feed(std::span<const Token> tokens, const Progress& progress) {
  return state_->feed(tokens, progress);
}

std::vector<float> Stream::score(std::span<const Token> tokens, const Progress& progress) {
  State& s = *state_;
  s.check(tokens);
  std::vector<float> values;
  values.reserve(tokens.size());
  for (std::size_t first = 0; first < tokens.size();) {
    const std::size_t n =
        std::min(tokens.size() - first, static_cast<std::size_t>(s.options.chunk));
    if (s.has_logits) values.push_back(s.nll(s.next_logits(), tokens[first]));
    const std::lock_guard lock(s.model.mutex);
    s.run(tokens.subspan(first, n), Segment::Logits::kAll,
          [&](std::size_t, std::size_t i, std::span<const float> scores) {
            if (i + 1 < n) values.push_back(s.nll(scores, tokens[first + i + 1]));
            if (i + 1 == n) s.keep(scores);
          });
    first += n;
    if (progress && !progress(static_cast<std::int64_t>(first))) break;
  }
  if (s.detokenizer && !tokens.empty()) s.detokenizer->restore({.pending = {}, .at_start = false});
  return values;
}

std::span<const float> Stream::logits() const { return state_->next_logits(); }
std::string Stream::flush_text() {
  return state_->detokenizer ? state_->detokenizer->flush() : std::string();
}

std::int64_t Stream::position() const {
  return state_->options.start_position + state_->history.position();
}
std::int64_t Stream::evicted() const {
  return cache_policy(state_->options).evicted(state_->history.position());
}
std::int64_t Stream::horizon() const {
  return state_->options.start_position +
         cache_policy(state_->options).horizon(state_->history.position());
}
std::int64_t Stream::guessed() const { return state_->all_guessed; }
std::int64_t Stream::guessed_right() const { return state_->all_right; }
std::size_t Stream::bytes() const { return state_->cache.bytes(); }
const StreamOptions& Stream::options() const { return state_->options; }
std::vector<Token> Stream::visible_tokens() const {
  std::vector<Token> tokens;
  state_->history.visible(tokens);
  return tokens;
}

void Stream::set_sampling(const SamplingOptions& sampling) {
  state_->sampler.set_options(sampling);
  state_->options.sampling = sampling;
}

void Stream::set_constraint(std::unique_ptr<TokenConstraint> constraint) {
  state_->constraint = std::move(constraint);
}

}  // namespace runnel

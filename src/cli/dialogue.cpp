#include "cli/dialogue.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/internals.h"
#include "runnel/error.h"

namespace runnel::cli {
namespace {

ChatTemplate choose_template(const Model& model, const std::string& name) {
  if (!name.empty()) return ChatTemplate::named(name);
  const std::string_view own = model.internals().file.get_string("tokenizer.chat_template", "");
  if (!own.empty()) return ChatTemplate::detect(own);
  throw Error(fmt::format("{}: the model has no chat template; choose one with --chat-template: {}",
                          model.name(), Dialogue::template_names()));
}

// How many bytes at the end of `text` may be the beginning of `stop`.
std::size_t overlap(std::string_view text, std::string_view stop) {
  for (std::size_t n = std::min(text.size(), stop.size()); n > 0; --n) {
    if (text.substr(text.size() - n) == stop.substr(0, n)) return n;
  }
  return 0;
}

// Resolved options with the defaults open again, so that another system prompt finds its own: the
// sinks where the prompt decided their number, and the window where it is the largest that fits.
StreamOptions as_given(const Model& model, StreamOptions options) {
  const auto n_pinned = static_cast<int>(options.pin_tokens.size());
  if (options.sinks == n_pinned) options.sinks = std::min(n_pinned, StreamOptions{}.sinks);
  StreamOptions defaults = options;
  defaults.window.reset();
  try {
    if (model.resolve(defaults).window == options.window) options.window.reset();
  } catch (const Error&) {  // no window fits by itself: this one was given
  }
  return options;
}

}  // namespace

std::string Dialogue::template_names() {
  return fmt::format("{}", fmt::join(ChatTemplate::known_names(), ", "));
}

Dialogue::Dialogue(const Model& model, const StreamOptions& options,
                   const std::string& template_name, std::string_view system)
    : model_(&model), template_(choose_template(model, template_name)), options_(options) {
  options_.pin_tokens = system_tokens(system);
}

void Dialogue::reset() { open(options_); }

void Dialogue::reset(std::string_view system) {
  StreamOptions options = options_;
  options.pin_tokens = system_tokens(system);
  open(options);
}

void Dialogue::open(const StreamOptions& options) {
  stream_.emplace(model_->open(options));
  options_ = options;
  next_turn_ = has_system() ? Turn::kAfterSystem : Turn::kFirst;
}

void Dialogue::resume(const std::filesystem::path& path) {
  stream_.emplace(model_->resume(path));
  options_ = as_given(*model_, stream_->options());
  const std::int64_t n_seen = stream_->position() - options_.start_position;
  next_turn_ = n_seen > std::ssize(options_.pin_tokens) ? Turn::kLater
               : has_system()                           ? Turn::kAfterSystem
                                                        : Turn::kFirst;
}

void Dialogue::set_sampling(const SamplingOptions& sampling) {
  options_.sampling = sampling;
  stream_->set_sampling(sampling);
}

void Dialogue::say(std::string_view text, const Stream::Progress& progress) {
  const bool is_first = stream_->position() == stream_->options().start_position;
  stream_->feed(encode(template_.user_turn(text, next_turn_), is_first), progress);
  next_turn_ = Turn::kLater;
  is_over_ = false;
  last_token_ = -1;
  held_back_.clear();
}

std::optional<std::string> Dialogue::hear() {
  if (is_over_) return std::nullopt;
  const Stream::Step step = stream_->next();
  last_token_ = step.token;
  is_over_ = step.end_of_generation;
  if (is_over_) return std::nullopt;
  return without_stop(step.text);
}

std::string Dialogue::end_answer() {
  std::vector<Token> closing = encode(template_.end_of_answer(), false);
  const bool is_begun = !closing.empty() && closing.front() == last_token_;
  if (is_begun) closing.erase(closing.begin());
  std::string rest = std::exchange(held_back_, {}) + stream_->flush_text();
  stream_->feed(closing);
  return rest;
}

std::vector<Token> Dialogue::system_tokens(std::string_view system) const {
  const std::vector<TextSegment> opening = template_.system(system);
  return opening.empty() ? std::vector<Token>() : encode(opening, true);
}

std::vector<Token> Dialogue::encode(const std::vector<TextSegment>& segments, bool is_first) const {
  return model_->internals().vocabulary().encode(segments,
                                                 {.add_bos = is_first, .space_prefix = is_first});
}

// Passes on what is surely not part of a stop text; the stop text itself ends the answer.
std::string Dialogue::without_stop(std::string text) {
  text = std::exchange(held_back_, {}) + text;
  std::size_t n_held = 0;
  for (const std::string_view stop : template_.stops()) {
    if (const std::size_t at = text.find(stop); at != std::string::npos) {
      is_over_ = true;
      return text.substr(0, at);
    }
    n_held = std::max(n_held, overlap(text, stop));
  }
  held_back_ = text.substr(text.size() - n_held);
  text.resize(text.size() - n_held);
  return text;
}

}  // namespace runnel::cli

#include "cli/dialogue.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cli/resume.h"
#include "runnel/error.h"

namespace runnel::cli {
namespace {

std::vector<ChatMessage> system_messages(std::string_view prompt) {
  if (prompt.empty()) return {};
  return {{.role = "system", .content = std::string(prompt)}};
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
  return fmt::format("{}", fmt::join(ChatTemplate::format_names(), ", "));
}

Dialogue::Dialogue(const Model& model, const StreamOptions& options,
                   const std::string& template_name, std::string_view system)
    : model_(&model),
      template_(ChatTemplate::of(model, template_name)),
      options_(options),
      system_(system_messages(system)) {
  options_.pin_tokens = template_.opening(system_);
}

void Dialogue::reset() { open(options_); }

void Dialogue::reset(std::string_view system) {
  std::vector<ChatMessage> messages = system_messages(system);
  StreamOptions options = options_;
  options.pin_tokens = template_.opening(messages);
  open(options);
  system_ = std::move(messages);
}

void Dialogue::open(const StreamOptions& options) {
  stream_.emplace(model_->open(options));
  options_ = options;
  is_begun_ = false;
}

void Dialogue::resume(const std::filesystem::path& path) {
  stream_.emplace(cli::resume(*model_, path));
  options_ = as_given(*model_, stream_->options());
  const std::int64_t n_seen = stream_->position() - options_.start_position;
  is_begun_ = n_seen > std::ssize(options_.pin_tokens);
  system_ = system_messages(has_system() ? "Be brief." : "");
}

void Dialogue::set_sampling(const SamplingOptions& sampling) {
  options_.sampling = sampling;
  stream_->set_sampling(sampling);
}

void Dialogue::say(std::string_view text, const Stream::Progress& progress) {
  static const std::vector<ChatMessage> kAnswered = {{.role = "user", .content = "Hi"},
                                                     {.role = "assistant", .content = "Hi"}};
  const std::vector<ChatMessage> said = {{.role = "user", .content = std::string(text)}};
  std::vector<Token> tokens = template_.turn(is_begun_ ? kAnswered : system_, said);
  const std::vector<Token> seen = stream_->visible_tokens();
  const bool is_closed = !seen.empty() && !tokens.empty() && seen.back() == tokens.front();
  if (is_begun_ && is_closed && template_.is_end(tokens.front())) tokens.erase(tokens.begin());
  stream_->feed(tokens, progress);
  is_begun_ = true;
  is_over_ = false;
  held_back_.clear();
}

std::optional<std::string> Dialogue::hear() {
  if (is_over_) return std::nullopt;
  const Stream::Step step = stream_->next();
  is_over_ = step.end_of_generation;
  if (is_over_) return std::nullopt;
  return without_stop(step.text);
}

std::string Dialogue::end_answer() { return std::exchange(held_back_, {}) + stream_->flush_text(); }

// Passes on what is surely not part of a stop text; the stop text itself ends the answer.
std::string Dialogue::without_stop(std::string text) {
  text = std::exchange(held_back_, {}) + text;
  std::size_t n_held = 0;
  for (const std::string& stop : template_.stops()) {
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

// StreamEval as a dialogue: models that were trained to answer in turns do so better there than in
// a text that goes on.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "eval/streameval.h"
#include "runnel/chat.h"

namespace runnel::eval {
namespace {

class ChatAnswerer final : public Answerer {
 public:
  ChatAnswerer(const Model& model, StreamOptions options, int most_tokens)
      : model_(model), template_(ChatTemplate::of(model)), most_tokens_(most_tokens) {
    options.sampling = {.temperature = 0};
    stream_.emplace(model.open(options));
    stream_->feed(template_.opening({}));
  }

  void read(std::string_view text) override {
    const bool is_gap = turn_.empty() && text.find_first_not_of('\n') == std::string_view::npos;
    if (is_gap) return;  // turns part by themselves
    turn_ += text;
    n_turn_tokens_ += static_cast<std::int64_t>(model_.tokenize(text, false).size());
  }

  std::string query(int line) const override {
    return fmt::format("What is the REGISTER_CONTENT in line {}? Answer with the number only.",
                       line);
  }

  std::string answer() override {
    begin_answer();
    std::string text;
    for (int i = 0; i < most_tokens_; ++i) {
      const Stream::Step step = stream_->next();
      if (step.end_of_generation) break;
      text += step.text;
    }
    return text;
  }

  std::size_t choose(std::span<const std::string> labels) override {
    begin_answer();
    const std::span<const float> logits = stream_->logits();
    const auto score = [&](const std::string& label) {
      return logits[static_cast<std::size_t>(model_.tokenize(label, false).front())];
    };
    const auto best = std::max_element(
        labels.begin(), labels.end(),
        [&](const std::string& a, const std::string& b) { return score(a) < score(b); });
    stream_->feed(*best);
    return static_cast<std::size_t>(best - labels.begin());
  }

  std::int64_t position() const override { return stream_->position() + n_turn_tokens_; }
  std::int64_t horizon() const override {
    const auto window = stream_->options().window;
    return window ? std::max<std::int64_t>(position() - *window, 0) : 0;
  }

 private:
  void begin_answer() {
    static const std::vector<ChatMessage> kAnswered = {{.role = "user", .content = "Hi"},
                                                       {.role = "assistant", .content = "Hi"}};
    const std::vector<ChatMessage> said = {
        {.role = "user", .content = std::exchange(turn_, std::string())}};
    const bool is_first = !std::exchange(has_answered_, true);
    std::vector<Token> tokens =
        template_.turn(is_first ? std::vector<ChatMessage>() : kAnswered, said);
    const std::vector<Token> seen = stream_->visible_tokens();
    const bool is_closed = !is_first && !seen.empty() && !tokens.empty() &&
                           seen.back() == tokens.front() && template_.is_end(tokens.front());
    if (is_closed) tokens.erase(tokens.begin());
    stream_->feed(tokens);
    n_turn_tokens_ = 0;
  }

  const Model& model_;
  ChatTemplate template_;
  std::optional<Stream> stream_;
  int most_tokens_;
  std::string turn_;  // read, and not fed yet
  std::int64_t n_turn_tokens_ = 0;
  bool has_answered_ = false;
};

}  // namespace

std::unique_ptr<Answerer> make_chat_answerer(const Model& model, const StreamOptions& options,
                                             int most_tokens) {
  return std::make_unique<ChatAnswerer>(model, options, most_tokens);
}

}  // namespace runnel::eval

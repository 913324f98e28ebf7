// A dialogue as one stream that only grows: the system prompt as pinned sinks, then turns. What is
// said passes the model once; the stream forgets the oldest of it by itself.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runnel/chat.h"
#include "runnel/runnel.h"

namespace runnel::cli {

class Dialogue {
 public:
  // The template is the model's own unless `template_name` is given. The model must outlive the
  // dialogue; call reset() or resume() first of all. Error: no template known for the model, with
  // the names to choose from.
  Dialogue(const Model& model, const StreamOptions& options, const std::string& template_name,
           std::string_view system);

  void reset();  // a new stream with the system prompt
  // The same with another one. Error: it does not fit; the old dialogue is then as it was.
  void reset(std::string_view system);
  // Later resets keep the saved system prompt and options.
  void resume(const std::filesystem::path& path);

  void set_sampling(const SamplingOptions& sampling);  // of this stream and those after resets

  // A turn: say(), hear() until it is over, end_answer(). What closes an answer is fed with the
  // next turn.
  void say(std::string_view text, const Stream::Progress& progress);
  std::optional<std::string> hear();  // text that is complete; nullopt: the answer is over
  std::string end_answer();           // text still held back

  Stream& stream() { return *stream_; }
  const Stream& stream() const { return *stream_; }
  bool has_system() const { return !options_.pin_tokens.empty(); }
  const ChatTemplate& chat_template() const { return template_; }

  static std::string template_names();  // "llama2, chatml, ..."

 private:
  void open(const StreamOptions& options);
  std::string without_stop(std::string text);

  const Model* model_;
  ChatTemplate template_;
  StreamOptions options_;            // of a new stream; the system prompt is pin_tokens
  std::vector<ChatMessage> system_;  // the system prompt, or what stands for a saved one
  std::optional<Stream> stream_;
  bool is_begun_ = false;  // a turn was said
  bool is_over_ = false;   // the model has finished, or a stop text came
  std::string held_back_;  // the end of the answer, as long as it may begin a stop text
};

}  // namespace runnel::cli

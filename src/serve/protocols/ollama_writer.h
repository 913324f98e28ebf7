// An answer as Ollama's API tells it: lines of JSON.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "serve/protocols/completion_writer.h"

namespace runnel::serve {

std::string ollama_error_body(const Fault& fault);  // {"error": ...}
std::string time_text();                            // now, as RFC 3339 has it
std::string time_text(std::int64_t unix_seconds);

class OllamaWriter final : public CompletionWriter {
 public:
  // `is_chat`: {"message": {...}} of /api/chat; else {"response": ...} of /api/generate.
  OllamaWriter(ReplyPtr reply, std::string model_id, bool is_streamed, bool is_chat)
      : CompletionWriter(std::move(reply), is_streamed, Wire::kLines, ollama_error_body),
        model_id_(std::move(model_id)),
        is_chat_(is_chat) {}

 protected:
  std::vector<Json> first_pieces() override;
  std::vector<Json> pieces(const Written& written) override;
  std::vector<Json> last_pieces(const Ending& ending) override;
  Json whole(const Ending& ending) override;

 private:
  Json line(const std::string& text, const std::string& thoughts, Json calls) const;
  void finish(Json& last, const Ending& ending) const;

  std::string model_id_;
  bool is_chat_;
};

}  // namespace runnel::serve

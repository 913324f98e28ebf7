// An answer as Anthropic's Messages tell it: blocks of text, thoughts and uses of tools.
#pragma once

#include <string>

#include "serve/protocols/completion_writer.h"

namespace runnel::serve {

// {"type": "error", "error": {"type": ..., "message": ...}}
std::string anthropic_error_body(const Fault& fault);

class MessagesWriter final : public CompletionWriter {
 public:
  MessagesWriter(ReplyPtr reply, std::string model_id, bool is_streamed)
      : CompletionWriter(std::move(reply), is_streamed, Wire::kNamedEvents, anthropic_error_body),
        model_id_(std::move(model_id)) {}

 protected:
  std::vector<Json> first_pieces() override;
  std::vector<Json> pieces(const Written& written) override;
  std::vector<Json> last_pieces(const Ending& ending) override;
  Json whole(const Ending& ending) override;

 private:
  enum class Block { kNone, kText, kThinking, kUse };
  Json message(Json content) const;
  void open(Block block, Json content, std::vector<Json>& pieces);
  void close(std::vector<Json>& pieces);
  Json delta(Json what) const;

  std::string model_id_;
  std::string id_ = random_id("msg_");
  Block open_ = Block::kNone;
  int index_ = -1;  // of the block that is open, or was
};

}  // namespace runnel::serve

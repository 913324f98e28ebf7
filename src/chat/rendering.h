// A dialogue as text: by an interpreted template, or by a format known by name.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/template.h"
#include "runnel/chat.h"
#include "tokenizer/chat_format.h"
#include "tokenizer/tokenizer.h"

namespace runnel {

class ChatRendering {
 public:
  virtual ~ChatRendering() = default;
  virtual std::vector<ChatText> render(std::span<const ChatMessage> messages,
                                       const ChatOptions& options) const = 0;
};

// The vocabulary is borrowed.
std::unique_ptr<ChatRendering> interpreted(jinja::Template parsed, const Tokenizer& vocabulary);
std::unique_ptr<ChatRendering> by_format(const ChatFormat& format);

std::string joined(std::span<const ChatText> text);

}  // namespace runnel

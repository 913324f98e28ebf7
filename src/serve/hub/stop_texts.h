// Texts that end an answer. Passes on what is surely not part of one.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace runnel::serve {

class StopTexts {
 public:
  explicit StopTexts(std::vector<std::string> stops) : stops_(std::move(stops)) {
    std::erase(stops_, "");
  }

  // The text that may be shown now. Once a stop text has come, what stood before it, and then
  // nothing.
  std::string push(std::string_view text) {
    if (found_ != nullptr) return {};
    held_ += text;
    std::size_t at = std::string::npos;
    for (const std::string& stop : stops_) {
      if (const std::size_t here = held_.find(stop); here < at) {
        at = here;
        found_ = &stop;
      }
    }
    if (found_ != nullptr) return std::exchange(held_, {}).substr(0, at);
    std::size_t n_held = 0;
    for (const std::string& stop : stops_) n_held = std::max(n_held, overlap(held_, stop));
    std::string shown = held_.substr(0, held_.size() - n_held);
    held_.erase(0, shown.size());
    return shown;
  }
  bool is_empty() const { return held_.empty(); }  // nothing is held back
  // What was held back, where no more text comes.
  std::string flush() { return std::exchange(held_, {}); }

  const std::string* found() const { return found_; }

 private:
  // How many bytes at the end of `text` may be the beginning of `stop`.
  static std::size_t overlap(std::string_view text, std::string_view stop) {
    for (std::size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
      if (text.ends_with(stop.substr(0, n))) return n;
    }
    return 0;
  }

  std::vector<std::string> stops_;
  std::string held_;
  const std::string* found_ = nullptr;
};

}  // namespace runnel::serve

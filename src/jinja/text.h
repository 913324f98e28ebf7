// A string that remembers, for each byte, whether the template's author or somebody's message wrote
// it. Only the template's own text may become control tokens.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace runnel::jinja {

enum class Origin : char { kValue = 0, kTemplate = 1 };

class Text {
 public:
  Text() = default;
  Text(std::string bytes, Origin origin)
      : bytes_(std::move(bytes)), marks_(bytes_.size(), static_cast<char>(origin)) {}

  const std::string& bytes() const { return bytes_; }
  std::size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  Origin origin(std::size_t at) const { return static_cast<Origin>(marks_[at]); }

  Text substr(std::size_t begin, std::size_t count = std::string::npos) const {
    Text part;
    part.bytes_ = bytes_.substr(begin, count);
    part.marks_ = marks_.substr(begin, count);
    part.is_safe_ = is_safe_;
    return part;
  }
  Text& append(const Text& other) {
    bytes_ += other.bytes_;
    marks_ += other.marks_;
    return *this;
  }
  Text& append(std::string_view bytes, Origin origin) {
    bytes_ += bytes;
    marks_.append(bytes.size(), static_cast<char>(origin));
    return *this;
  }
  // Went through the filter `safe`: other text that is added to it gets escaped for HTML.
  bool is_safe() const { return is_safe_; }
  void set_safe(bool is_safe) { is_safe_ = is_safe; }

  // The same marks over other bytes of the same number.
  Text with_bytes(std::string bytes) const {
    Text changed;
    changed.marks_ = marks_;
    changed.bytes_ = std::move(bytes);
    changed.marks_.resize(changed.bytes_.size(), static_cast<char>(Origin::kValue));
    return changed;
  }

  struct Span {
    std::string_view bytes;  // of this text
    Origin origin;
  };
  // Maximal runs of one origin, in order.
  std::vector<Span> spans() const {
    std::vector<Span> spans;
    for (std::size_t begin = 0; begin < size();) {
      std::size_t end = marks_.find_first_not_of(marks_[begin], begin);
      if (end == std::string::npos) end = size();
      spans.push_back({std::string_view(bytes_).substr(begin, end - begin), origin(begin)});
      begin = end;
    }
    return spans;
  }

 private:
  std::string bytes_;
  std::string marks_;  // an Origin for each byte
  bool is_safe_ = false;
};

}  // namespace runnel::jinja

#include "serve/late_text.h"

#include <exception>
#include <utility>

#include "serve/log.h"

namespace runnel::serve {

LateText::LateText(Make make, std::chrono::milliseconds patience)
    : make_(std::move(make)), patience_(patience) {}

LateText::~LateText() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  if (maker_.joinable()) maker_.join();
  if (answerer_.joinable()) answerer_.join();
}

void LateText::ask(Answer answer) {
  std::unique_lock lock(mutex_);
  if (text_ || is_stopping_) {
    const std::string text = text_.value_or("");
    lock.unlock();
    return answer(text);
  }
  waiting_.push_back({Clock::now() + patience_, std::move(answer)});
  if (!maker_.joinable()) {
    maker_ = std::thread([this] { make_it(); });
    answerer_ = std::thread([this] { answer_them(); });
  }
  changed_.notify_all();
}

void LateText::make_it() {
  std::string text;
  try {
    if (make_) text = make_(is_stopping_);
  } catch (const std::exception& error) {
    if (!is_stopping_) log_warning(error.what());
  }
  {
    const std::lock_guard lock(mutex_);
    text_ = std::move(text);
  }
  changed_.notify_all();
}

// Until the text is there, and all who waited have it.
void LateText::answer_them() {
  std::unique_lock lock(mutex_);
  const auto is_over = [this] { return text_ || is_stopping_; };
  for (;;) {
    if (waiting_.empty()) {
      if (is_over()) return;
      changed_.wait(lock, [&] { return is_over() || !waiting_.empty(); });
      continue;
    }
    const Clock::time_point until = waiting_.front().until;
    if (!changed_.wait_until(lock, until, is_over) && Clock::now() < until) continue;
    const Answer answer = std::move(waiting_.front().answer);
    waiting_.pop_front();
    const std::string text = text_.value_or("");
    lock.unlock();
    answer(text);
    lock.lock();
  }
}

}  // namespace runnel::serve

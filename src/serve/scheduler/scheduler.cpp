#include "serve/scheduler/scheduler.h"

#include <algorithm>
#include <utility>

#include "serve/log.h"

namespace runnel::serve {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kTick{1};
constexpr std::int64_t kMostReadInAStep = 512;  // tokens: the decoder's buffers grow with them

void try_to(const std::function<void()>& work) {
  try {
    work();
  } catch (const std::exception& error) {
    log_warning(std::string("work for the streams failed: ") + error.what());
  }
}

Pace::Kind kind_of(const Wish& wish) {
  return wish.is_scored ? Pace::Kind::kScored : Pace::Kind::kPlain;
}

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options)
    : options_(options), pace_(options.longest_wait) {}

Scheduler::~Scheduler() { stop(); }

void Scheduler::begin(std::function<void()> tick) {
  tick_ = std::move(tick);
  thread_ = std::thread([this] { loop(); });
}

bool Scheduler::post(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    posted_.push_back(std::move(work));
  }
  has_work_.notify_one();
  return true;
}

void Scheduler::start(std::shared_ptr<Run> run) { runs_.push_back(std::move(run)); }

void Scheduler::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  has_work_.notify_one();
  if (thread_.joinable()) thread_.join();
}

Scheduler::Counters Scheduler::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

void Scheduler::loop() {
  Clock::time_point next_tick = Clock::now() + kTick;
  while (do_posted()) {
    if (tick_ && Clock::now() >= next_tick) {
      try_to(tick_);
      next_tick = Clock::now() + kTick;
    }
    drop_ended();
    const std::vector<Part> parts = plan();
    if (!parts.empty()) step(parts);
  }
}

// Waits where there is nothing else to do, at most until the next tick.
bool Scheduler::do_posted() {
  std::deque<std::function<void()>> posted;
  bool goes_on = true;
  {
    std::unique_lock lock(mutex_);
    if (runs_.empty())
      has_work_.wait_for(lock, kTick, [&] { return stopping_ || !posted_.empty(); });
    posted.swap(posted_);
    goes_on = !stopping_;
    counters_.running = runs_.size();
  }
  for (const auto& work : posted) try_to(work);
  return goes_on;
}

// Ended ones may start others, which come last.
void Scheduler::drop_ended() {
  for (std::size_t i = 0; i < runs_.size();) {
    const std::shared_ptr<Run> run = runs_[i];
    if (run->wish().kind != Wish::Kind::kEnd) {
      ++i;
      continue;
    }
    runs_.erase(runs_.begin() + static_cast<std::ptrdiff_t>(i));
    run->ended("");
  }
}

// The first runs in the order of turns: those that write, and those that read with an equal share
// of the time that there is.
std::vector<Scheduler::Part> Scheduler::plan() {
  std::vector<Part> parts;
  if (runs_.empty()) return parts;
  const std::size_t n = std::min(runs_.size(), static_cast<std::size_t>(options_.most_together));
  std::int64_t n_readers = 0;
  for (std::size_t i = 0; i < n; ++i) {
    parts.push_back({runs_[i].get(), runs_[i]->wish()});
    if (parts.back().wish.kind == Wish::Kind::kRead) ++n_readers;
  }
  const bool has_writers = n_readers < static_cast<std::int64_t>(n);
  const auto n_turns = static_cast<std::int64_t>((runs_.size() + n - 1) / n);
  Pace::Seconds time = pace_.budget(has_writers, n_turns);
  std::int64_t left = kMostReadInAStep;
  for (Part& part : parts) {
    if (part.wish.kind != Wish::Kind::kRead) continue;
    const Pace::Kind kind = kind_of(part.wish);
    const std::int64_t fair = std::max<std::int64_t>(1, left / n_readers);
    const std::int64_t most = std::min<std::int64_t>(
        {fair, part.run->stream().options().chunk, std::ssize(part.wish.tokens)});
    const Pace::Seconds share = time / static_cast<double>(n_readers--);
    const std::int64_t taken = pace_.n_to_read(kind, share, most);
    part.wish.tokens = part.wish.tokens.first(static_cast<std::size_t>(taken));
    left -= taken;
    time = std::max(Pace::Seconds(0), time - pace_.time_of(kind, taken));
  }
  std::rotate(runs_.begin(), runs_.begin() + static_cast<std::ptrdiff_t>(n), runs_.end());
  return parts;
}

void Scheduler::step(const std::vector<Part>& all) {
  const Clock::time_point begin = Clock::now();
  std::vector<Part> parts;  // that take the step together
  std::vector<Stream::Work> work;
  std::int64_t n_scored = 0, n_read = 0;
  for (const Part& part : all) {
    if (part.wish.is_scored) {
      n_scored += std::ssize(part.wish.tokens);
      score(part);
      continue;
    }
    n_read += std::ssize(part.wish.tokens);
    parts.push_back(part);
    work.push_back({&part.run->stream(), part.wish.tokens});
    part.run->will_step();
  }
  const Clock::time_point scored = Clock::now();
  pace_.learn(Pace::Kind::kScored, n_scored, false, scored - begin);
  std::vector<Stream::Step> steps;
  try {
    steps = Stream::step(work);
  } catch (const Error&) {  // of one of them; nothing has moved
    for (const Part& part : parts) step_alone(part);
    return;
  }
  const Clock::time_point end = Clock::now();
  const Pace::Seconds took = end - begin;
  const auto n_written =
      static_cast<std::uint64_t>(std::count_if(parts.begin(), parts.end(), [](const Part& part) {
        return part.wish.kind == Wish::Kind::kWrite;
      }));
  pace_.learn(Pace::Kind::kPlain, n_read, n_written > 0, end - scored);
  if (n_read == 0 && n_written > 0) pace_.learn_writing(end - scored);
  {
    const std::lock_guard lock(mutex_);
    ++counters_.steps;
    counters_.tokens_read += static_cast<std::uint64_t>(n_read + n_scored);
    counters_.tokens_written += n_written;
    if (n_written > 0)
      counters_.longest_step_seconds = std::max(counters_.longest_step_seconds, took.count());
  }
  for (std::size_t i = 0; i < parts.size(); ++i) report(parts[i], steps[i]);
}

void Scheduler::step_alone(const Part& part) {
  const Stream::Work work = {&part.run->stream(), part.wish.tokens};
  try {
    report(part, Stream::step({&work, 1}).front());
  } catch (const Error& error) {
    fail(part.run, error.what());
  }
}

// A step of its own: it asks the output matrix for every token, not the last alone.
void Scheduler::score(const Part& part) {
  try {
    std::vector<float> values = part.run->stream().score(part.wish.tokens);
    for (float& value : values) value = -value;
    part.run->scored(values);
    part.run->read(part.wish.tokens.size());
  } catch (const Error& error) {
    fail(part.run, error.what());
  }
}

void Scheduler::report(const Part& part, const Stream::Step& step) {
  try {
    if (part.wish.kind == Wish::Kind::kRead) return part.run->read(part.wish.tokens.size());
    part.run->wrote(step);
  } catch (const Error& error) {  // what it reports to: a full disk, for one
    fail(part.run, error.what());
  }
}

void Scheduler::fail(Run* run, const std::string& why) {
  const auto at = std::find_if(runs_.begin(), runs_.end(),
                               [run](const std::shared_ptr<Run>& r) { return r.get() == run; });
  if (at == runs_.end()) return;
  const std::shared_ptr<Run> failed = *at;
  runs_.erase(at);
  failed->ended(why);
}

}  // namespace runnel::serve

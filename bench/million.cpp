// A long stream, watched: million MODEL [TOKENS [TEXT]]
//
// Writes TOKENS (default a million) tokens one by one, or with TEXT reads that many of the file,
// again and again, in chunks. Prints speed, likelihood and memory of each tenth. Fails when memory
// has grown by a MiB or more since the first tokens; speed and likelihood are for the reader to
// judge, because machines are noisy. Tokens for a second of processor time (of all threads) are
// steadier than those for a second on the clock.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "runnel/runnel.h"

namespace {

using runnel::Model;
using runnel::Stream;
using runnel::Token;

constexpr std::int64_t kFirstTokens = 2'000;  // the window fills, every buffer has its size
constexpr int kParts = 10;
constexpr std::int64_t kMiB = 1 << 20;

std::int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t n_pages = 0;
  std::int64_t n_resident_pages = 0;
  statm >> n_pages >> n_resident_pages;
  return n_resident_pages * ::sysconf(_SC_PAGESIZE);
}

double clock_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

std::vector<Token> tokens_of(const Model& model, const char* path) {
  std::ifstream file(path);
  if (!file) throw runnel::Error(fmt::format("{}: cannot be read", path));
  return model.tokenize(std::string(std::istreambuf_iterator<char>(file), {}));
}

// Goes on with a stream; text, when there is any, begins again at its end.
class Traveller {
 public:
  Traveller(Stream stream, std::vector<Token> text)
      : stream_(std::move(stream)), text_(std::move(text)) {}

  // Returns the sum of the negative log-likelihoods of the next n tokens.
  double go(std::int64_t n) { return text_.empty() ? write(n) : read(n); }
  const Stream& stream() const { return stream_; }

 private:
  double write(std::int64_t n) {
    double nll = 0;
    for (std::int64_t i = 0; i < n; ++i) nll -= stream_.next().log_probability;
    return nll;
  }

  double read(std::int64_t n) {
    double nll = 0;
    while (n > 0) {
      const std::size_t left = text_.size() - next_;
      const std::size_t take = std::min({left, static_cast<std::size_t>(n), std::size_t{4096}});
      for (const float value : stream_.score({text_.data() + next_, take})) nll += value;
      next_ = (next_ + take) % text_.size();
      n -= static_cast<std::int64_t>(take);
    }
    return nll;
  }

  Stream stream_;
  std::vector<Token> text_;  // empty: the stream writes its own
  std::size_t next_ = 0;
};

int watch(const Model& model, Traveller traveller, std::int64_t n_tokens) {
  traveller.go(kFirstTokens);
  const std::int64_t first_bytes = resident_bytes();
  const auto& options = traveller.stream().options();
  fmt::print("{}, {} sinks, window {}, {} threads, {}\n", model.name(), options.sinks,
             options.window.value_or(0), model.threads(), model.instruction_set());
  fmt::print("{:>10} {:>10} {:>12} {:>10} {:>14}\n", "position", "tokens/s", "tokens/cpu s",
             "mean NLL", "resident KiB");
  fmt::print("{:>10} {:>10} {:>12} {:>10} {:>14}\n", traveller.stream().position(), "", "", "",
             first_bytes / 1024);
  const std::int64_t n = (n_tokens - kFirstTokens) / kParts;
  for (int part = 0; part < kParts; ++part) {
    const double clock_start = clock_seconds();
    const double processor_start = processor_seconds();
    const double nll = traveller.go(n);
    const auto count = static_cast<double>(n);
    fmt::print("{:>10} {:>10.0f} {:>12.0f} {:>10.4f} {:>14}\n", traveller.stream().position(),
               count / (clock_seconds() - clock_start),
               count / (processor_seconds() - processor_start), nll / count,
               resident_bytes() / 1024);
    std::fflush(stdout);
  }
  const std::int64_t growth = resident_bytes() - first_bytes;
  fmt::print("memory since position {}: {:+} KiB\n", kFirstTokens, growth / 1024);
  return growth < kMiB ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 4) {
    fmt::print(stderr, "usage: million MODEL [TOKENS [TEXT]]\n");
    return 2;
  }
  try {
    const Model model = Model::load(argv[1]);
    const std::int64_t n_tokens = argc > 2 ? std::atoll(argv[2]) : 1'000'000;
    std::vector<Token> text;
    if (argc > 3) text = tokens_of(model, argv[3]);
    return watch(model, Traveller(model.open(), std::move(text)), n_tokens);
  } catch (const std::exception& error) {
    fmt::print(stderr, "million: {}\n", error.what());
    return 1;
  }
}

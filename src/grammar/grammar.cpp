#include "grammar/grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "runnel/error.h"

namespace runnel {
namespace {

constexpr std::size_t kLargestGrammar = 1 << 20;  // elements
constexpr int kDeepestRule = 200;                 // rules in each other
constexpr int kNotTriedYet = -2;

}  // namespace

Grammar::Grammar() { declare(); }

Grammar::Rule Grammar::declare() {
  rules_.emplace_back();
  return static_cast<Rule>(rules_.size()) - 1;
}

void Grammar::add(Rule rule, const Sequence& sequence) {
  if (elements_.size() + sequence.size() > kLargestGrammar) {
    throw Error(fmt::format("grammar: want at most {} elements", kLargestGrammar));
  }
  rules_[static_cast<std::size_t>(rule)].push_back(static_cast<int>(elements_.size()));
  for (const Part& part : sequence) {
    elements_.push_back({part.is_rule ? Kind::kRule : Kind::kBytes, part.index});
  }
  elements_.push_back({Kind::kEnd, 0});
}

Grammar::Rule Grammar::choice(const std::vector<Sequence>& sequences) {
  const Rule made = declare();
  for (const Sequence& sequence : sequences) add(made, sequence);
  return made;
}

Grammar::Part Grammar::bytes(const ByteSet& set) {
  const auto [found, is_new] = set_index_.emplace(set, static_cast<int>(sets_.size()));
  if (is_new) sets_.push_back(set);
  return {false, found->second};
}

Grammar::Part Grammar::byte(char c) {
  ByteSet set;
  set.set(static_cast<unsigned char>(c));
  return bytes(set);
}

void Grammar::append(std::string_view text, Sequence& sequence) {
  for (const char c : text) sequence.push_back(byte(c));
}

Grammar::Sequence Grammar::literal(std::string_view text) {
  Sequence sequence;
  append(text, sequence);
  return sequence;
}

Grammar::Rule Grammar::repeat(const Sequence& sequence, int least, int most) {
  // From the end: each step is the sequence and what may follow; a rule's end is its last element,
  // so stacks do not grow with the number of repetitions.
  Rule rest = declare();
  if (most < 0) {
    add(rest, {});
    Sequence again = sequence;
    again.push_back(rule(rest));
    add(rest, again);
  } else {
    add(rest, {});
    for (int i = std::max(least, 0); i < most; ++i) {
      Sequence once = sequence;
      once.push_back(rule(rest));
      rest = choice({{}, once});
    }
  }
  for (int i = 0; i < least; ++i) {
    Sequence once = sequence;
    once.push_back(rule(rest));
    rest = choice({once});
  }
  return rest;
}

Matcher::Matcher(const Grammar& grammar) : grammar_(&grammar), frames_{{0, 0, 0}} {
  std::vector<int> stacks;
  bool is_complete = false;
  for (const int at : grammar.sequences(grammar.start())) expand(at, 0, stacks, is_complete);
  start_ = intern(std::move(stacks), is_complete);
}

int Matcher::frame(int at, int below) {
  const std::uint64_t key =
      static_cast<std::uint64_t>(at) << 32 | static_cast<std::uint32_t>(below);
  const auto [found, is_new] = frame_index_.emplace(key, static_cast<int>(frames_.size()));
  if (is_new) frames_.push_back({at, below, frames_[static_cast<std::size_t>(below)].depth + 1});
  return found->second;
}

// All frames at a set of bytes that can be reached from a place without a byte.
void Matcher::expand(int at, int below, std::vector<int>& stacks, bool& is_complete) {
  const std::uint64_t key =
      static_cast<std::uint64_t>(at) << 32 | static_cast<std::uint32_t>(below);
  if (std::find(seen_.begin(), seen_.end(), key) != seen_.end()) return;
  seen_.push_back(key);
  const Grammar::Element element = grammar_->element(at);
  switch (element.kind) {
    case Grammar::Kind::kBytes:
      stacks.push_back(frame(at, below));
      break;
    case Grammar::Kind::kEnd:
      if (below == 0) {
        is_complete = true;
      } else {
        const Frame back = frames_[static_cast<std::size_t>(below)];
        expand(back.at, back.below, stacks, is_complete);
      }
      break;
    case Grammar::Kind::kRule: {
      const bool is_last = grammar_->element(at + 1).kind == Grammar::Kind::kEnd;
      const int next = is_last ? below : frame(at + 1, below);
      if (frames_[static_cast<std::size_t>(next)].depth > kDeepestRule) break;
      for (const int begin : grammar_->sequences(element.index)) {
        expand(begin, next, stacks, is_complete);
      }
      break;
    }
  }
}

int Matcher::intern(std::vector<int> stacks, bool is_complete) {
  seen_.clear();
  std::sort(stacks.begin(), stacks.end());
  stacks.erase(std::unique(stacks.begin(), stacks.end()), stacks.end());
  std::string key(reinterpret_cast<const char*>(stacks.data()), stacks.size() * sizeof(int));
  key += is_complete ? '1' : '0';
  const auto [found, is_new] =
      state_index_.emplace(std::move(key), static_cast<int>(states_.size()));
  if (is_new) {
    State& state = states_.emplace_back();
    state.stacks = std::move(stacks);
    state.is_complete = is_complete;
    state.next.fill(kNotTriedYet);
  }
  return found->second;
}

int Matcher::follow(int state, unsigned char byte) {
  std::vector<int> stacks;
  bool is_complete = false;
  const std::vector<int> from = states_[static_cast<std::size_t>(state)].stacks;
  for (const int id : from) {
    const Frame here = frames_[static_cast<std::size_t>(id)];
    if (!grammar_->holds(grammar_->element(here.at).index, byte)) continue;
    expand(here.at + 1, here.below, stacks, is_complete);
  }
  if (stacks.empty() && !is_complete) {
    seen_.clear();
    return kDead;
  }
  return intern(std::move(stacks), is_complete);
}

int Matcher::step(int state, unsigned char byte) {
  if (state < 0) return kDead;
  const int known = states_[static_cast<std::size_t>(state)].next[byte];
  if (known != kNotTriedYet) return known;
  const int next = follow(state, byte);
  states_[static_cast<std::size_t>(state)].next[byte] = next;
  return next;
}

int Matcher::forget_others(int state) {
  State kept = states_[static_cast<std::size_t>(state)];
  // The frames of the kept stacks, rebuilt from the bottom.
  std::vector<Frame> old = std::exchange(frames_, {{0, 0, 0}});
  frame_index_.clear();
  states_.clear();
  state_index_.clear();
  std::vector<int> stacks;
  for (const int id : kept.stacks) {
    std::vector<int> places;
    for (int at = id; at != 0; at = old[static_cast<std::size_t>(at)].below) {
      places.push_back(old[static_cast<std::size_t>(at)].at);
    }
    int below = 0;
    for (auto place = places.rbegin(); place != places.rend(); ++place)
      below = frame(*place, below);
    stacks.push_back(below);
  }
  const int made = intern(std::move(stacks), kept.is_complete);
  std::vector<int> first;
  bool is_complete = false;
  for (const int at : grammar_->sequences(grammar_->start())) expand(at, 0, first, is_complete);
  start_ = intern(std::move(first), is_complete);
  return made;
}

}  // namespace runnel

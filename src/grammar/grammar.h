// A grammar over bytes, and where a text stands in it.
//
// A rule is a choice of sequences; an element of a sequence is a set of bytes or another rule. A
// text's state is the set of all ways to have come here, each a stack of the places to go on at.
// States are numbered as they are met and remember where each byte leads, so that in effect an
// automaton is built, as far as texts go.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace runnel {

using ByteSet = std::bitset<256>;

class Grammar {
 public:
  using Rule = int;
  // One element of a sequence.
  struct Part {
    bool is_rule = false;
    int index = 0;  // of a set of bytes, or the rule
  };
  using Sequence = std::vector<Part>;

  Grammar();
  // A rule that has no sequence yet: for rules that contain themselves.
  Rule declare();
  // Error: the grammar becomes too large.
  void add(Rule rule, const Sequence& sequence);
  Rule choice(const std::vector<Sequence>& sequences);

  Part bytes(const ByteSet& set);
  Part byte(char c);
  Part rule(Rule rule) const { return {true, rule}; }
  // The text, byte for byte, at the end of a sequence.
  void append(std::string_view text, Sequence& sequence);
  Sequence literal(std::string_view text);
  // At least `least` times and at most `most` (negative: without end), as one rule.
  Rule repeat(const Sequence& sequence, int least, int most);

  void set_start(Rule rule) { start_ = rule; }
  Rule start() const { return start_; }

  // The sequences, one behind the other, each closed by an element that is neither.
  enum class Kind : std::uint8_t { kBytes, kRule, kEnd };
  struct Element {
    Kind kind;
    int index;
  };
  const Element& element(int at) const { return elements_[static_cast<std::size_t>(at)]; }
  const std::vector<int>& sequences(Rule rule) const {
    return rules_[static_cast<std::size_t>(rule)];
  }
  bool holds(int set, unsigned char byte) const {
    return sets_[static_cast<std::size_t>(set)][byte];
  }

 private:
  std::vector<Element> elements_;
  std::vector<std::vector<int>> rules_;  // where each rule's sequences begin
  std::vector<ByteSet> sets_;
  std::unordered_map<std::bitset<256>, int> set_index_;
  Rule start_ = 0;
};

// The states of one text. Borrows the grammar.
class Matcher {
 public:
  static constexpr int kDead = -1;

  explicit Matcher(const Grammar& grammar);

  int start() const { return start_; }
  // kDead: no text of the grammar goes on like this.
  int step(int state, unsigned char byte);
  bool is_complete(int state) const { return states_[static_cast<std::size_t>(state)].is_complete; }
  bool can_go_on(int state) const {
    return !states_[static_cast<std::size_t>(state)].stacks.empty();
  }
  std::size_t size() const { return states_.size(); }
  // Forgets all states but one and returns its new number.
  int forget_others(int state);

 private:
  // A place to go on at, and the stack below it; 0 is the empty stack.
  struct Frame {
    int at;
    int below;
    int depth;
  };
  struct State {
    std::vector<int> stacks;  // frames whose place is a set of bytes; sorted
    bool is_complete = false;
    std::array<int, 256> next;
  };
  int frame(int at, int below);
  void expand(int at, int below, std::vector<int>& stacks, bool& is_complete);
  int intern(std::vector<int> stacks, bool is_complete);
  int follow(int state, unsigned char byte);

  const Grammar* grammar_;
  std::vector<Frame> frames_;
  std::unordered_map<std::uint64_t, int> frame_index_;
  std::vector<State> states_;
  std::unordered_map<std::string, int> state_index_;
  std::vector<std::uint64_t> seen_;  // places expanded in this step
  int start_ = 0;
};

}  // namespace runnel

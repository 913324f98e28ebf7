#include "cli/habits.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

namespace runnel::cli {
namespace {

struct Habit {
  std::string_view option;  // "-c", or "--ctx-size"
  std::string_view meaning;
};

constexpr std::string_view kWindow =
    "did you mean --window N? A stream has no end; the window is how far back it sees";
constexpr std::string_view kLayers =
    "did you mean --device gpu, where the command runs a model (--gpu-layers N: only the first N)?";
constexpr std::string_view kTokens = "did you mean -n N (--tokens)?";
constexpr std::string_view kChunk = "did you mean --chunk N?";
constexpr std::string_view kSystem = "did you mean --system TEXT?";
constexpr std::string_view kChat = "did you mean the command 'runnel chat'?";
constexpr std::string_view kMapped = "leave it out: the file is always mapped, and matrices packed";

constexpr std::array kHabits = {
    Habit{"-c", kWindow},
    Habit{"--ctx-size", kWindow},
    Habit{"--ctx", kWindow},
    Habit{"--context", kWindow},
    Habit{"-ngl", kLayers},
    Habit{"--n-gpu-layers", kLayers},
    Habit{"--gpu-layers", kLayers},
    Habit{"--n-predict", kTokens},
    Habit{"--predict", kTokens},
    Habit{"--max-tokens", kTokens},
    Habit{"--num-predict", kTokens},
    Habit{"-b", kChunk},
    Habit{"-ub", kChunk},
    Habit{"--batch-size", kChunk},
    Habit{"--ubatch-size", kChunk},
    Habit{"--keep", "did you mean --sinks N, or --pin TEXT for a text that is never forgotten?"},
    Habit{"-sys", kSystem},
    Habit{"--system-prompt", kSystem},
    Habit{"-cnv", kChat},
    Habit{"-i", kChat},
    Habit{"--conversation", kChat},
    Habit{"--interactive", kChat},
    Habit{"--instruct", kChat},
    Habit{"-s", "did you mean --seed N?"},
    Habit{"-ctk", "did you mean --kv-type TYPE?"},
    Habit{"-ctv", "did you mean --kv-type TYPE?"},
    Habit{"--cache-type-k", "did you mean --kv-type TYPE?"},
    Habit{"--cache-type-v", "did you mean --kv-type TYPE?"},
    Habit{"-fa", "leave it out: attention is computed so anyway"},
    Habit{"--flash-attn", "leave it out: attention is computed so anyway"},
    Habit{"--mlock", kMapped},
    Habit{"--no-mmap", kMapped},
    Habit{"--prompt-cache", "did you mean --save FILE, and then --resume FILE?"},
    Habit{"--ignore-eos", "leave it out: a stream goes on after it (--stop-at-eos stops there)"},
    Habit{"-e", "leave it out: write a newline with $'...' of your shell"},
    Habit{"-st", "did you mean --one-turn?"},
    Habit{"--jinja", "leave it out"},
    Habit{"-hf", "give the path of a GGUF file, or a name of 'runnel pull --list'"},
};

std::string_view meaning_of(std::string_view option) {
  for (const Habit& habit : kHabits)
    if (habit.option == option) return habit.meaning;
  return {};
}

// Letters to change, add or leave out (Levenshtein).
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row[b.size()];
}

// "--temprature" of "--temprature=0.5".
std::string_view name_of(std::string_view argument) {
  return argument.substr(0, argument.find('='));
}

// Whether the next argument is a value that may look like anything.
bool takes_text(std::string_view argument) {
  constexpr std::array<std::string_view, 5> kTexts = {"-p", "--prompt", "--system", "--pin",
                                                      "--chat-template"};
  return std::find(kTexts.begin(), kTexts.end(), argument) != kTexts.end();
}

}  // namespace

std::string foreign_option(const std::vector<std::string_view>& arguments) {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view name = name_of(arguments[i]);
    if (name == "--") break;
    const bool is_text = i > 0 && takes_text(arguments[i - 1]);
    const bool is_bundle = name.size() > 2 && name[0] == '-' && name[1] != '-';
    const std::string_view meaning = meaning_of(name);
    if (is_bundle && !is_text && !meaning.empty()) return fmt::format("{}: {}", name, meaning);
  }
  return {};
}

std::string hint_for(std::string_view unknown, const CLI::App& subcommand) {
  const std::string_view name = name_of(unknown);
  if (const std::string_view meaning = meaning_of(name); !meaning.empty())
    return std::string(meaning);
  if (!name.starts_with("--")) return {};
  std::string nearest;
  std::size_t least = name.size() / 4 + 1;  // letters that may be wrong, and one more
  for (const CLI::Option* option : subcommand.get_options()) {
    for (const std::string& word : option->get_lnames()) {
      const std::size_t wrong = distance(name.substr(2), word);
      if (wrong < least) nearest = word, least = wrong;
    }
  }
  return nearest.empty() ? "" : fmt::format("did you mean --{}?", nearest);
}

}  // namespace runnel::cli

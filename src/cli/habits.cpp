#include "cli/habits.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <numeric>
#include <span>
#include <utility>

namespace runnel::cli {
namespace {

struct Habit {
  std::string_view word;  // "-c", or "--ctx-size"; or a command
  std::string_view meaning;
};

constexpr std::string_view kWindow =
    "did you mean --window N? A stream has no end; the window is how far back it sees";
constexpr std::string_view kLayers = "leave it out: this command runs no layers";
constexpr std::string_view kTokens = "did you mean -n N (--tokens)?";
constexpr std::string_view kChunk = "did you mean --chunk N?";
constexpr std::string_view kSystem = "did you mean --system TEXT?";
constexpr std::string_view kChat = "did you mean the command 'runnel chat'?";
constexpr std::string_view kText = "did you mean the command 'runnel generate'?";
constexpr std::string_view kSampling =
    "not here: --temperature, --top-k, --top-p, --min-p and the penalties are";
constexpr std::string_view kMapped = "leave it out: the file is always mapped, and matrices packed";

constexpr std::array kHabits = {
    Habit{"-c", kWindow},
    Habit{"--ctx-size", kWindow},
    Habit{"--ctx", kWindow},
    Habit{"--context", kWindow},
    Habit{"--ngl", "did you mean -ngl N (--gpu-layers)?"},
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
    Habit{"-no-cnv", kText},
    Habit{"--no-conversation", kText},
    Habit{"--no-display-prompt", "leave it out: only --echo repeats the prompt"},
    Habit{"--repeat-last-n", "leave it out: penalties count the tokens in view"},
    Habit{"--mirostat", kSampling},
    Habit{"--typical", kSampling},
    Habit{"--top-n-sigma", kSampling},
    Habit{"--dynatemp-range", kSampling},
    Habit{"--xtc-probability", kSampling},
    Habit{"--dry-multiplier", kSampling},
    Habit{"-np", "leave it out: 'runnel serve' takes as many streams as --memory holds"},
    Habit{"--parallel", "leave it out: 'runnel serve' takes as many streams as --memory holds"},
    Habit{"--mlock", kMapped},
    Habit{"--no-mmap", kMapped},
    Habit{"--prompt-cache", "did you mean --save FILE, and then --resume FILE?"},
    Habit{"--ignore-eos", "leave it out: a stream goes on after it (--stop-at-eos stops there)"},
    Habit{"-e", "leave it out: write a newline with $'...' of your shell"},
    Habit{"-st", "did you mean --one-turn?"},
    Habit{"--jinja", "leave it out"},
    Habit{"-hf", "give the path of a GGUF file, or a name of 'runnel pull --list'"},
};

// Names of other programs' commands.
constexpr std::array kCommands = {
    Habit{"run", "chat' or 'runnel generate"},
    Habit{"cli", "chat' or 'runnel generate"},
    Habit{"complete", "generate"},
    Habit{"completion", "generate"},
    Habit{"server", "serve"},
    Habit{"perplexity", "ppl"},
    Habit{"list", "pull --list"},
    Habit{"ls", "pull --list"},
    Habit{"models", "pull --list"},
    Habit{"download", "pull"},
    Habit{"show", "info"},
    Habit{"encode", "tokenize"},
    Habit{"decode", "detokenize"},
};

std::string_view meaning_of(std::string_view word, std::span<const Habit> words = kHabits) {
  for (const Habit& habit : words)
    if (habit.word == word) return habit.meaning;
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

// The word that is written almost so, or none.
std::string nearest_of(std::string_view wanted, const std::vector<std::string>& words) {
  std::string nearest;
  std::size_t least = wanted.size() / 4 + 2;  // letters that may be wrong, and one more
  for (const std::string& word : words) {
    const std::size_t wrong = distance(wanted, word);
    if (wrong < least) nearest = word, least = wrong;
  }
  return nearest;
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

std::string translate(std::vector<std::string>& arguments) {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view name = name_of(arguments[i]);
    if (name == "--") break;
    const bool is_bundle = name.size() > 2 && name[0] == '-' && name[1] != '-';
    if (!is_bundle || (i > 0 && takes_text(arguments[i - 1]))) continue;
    if (name == "-ngl") {
      arguments[i].replace(0, name.size(), "--gpu-layers");
    } else if (const std::string_view meaning = meaning_of(name); !meaning.empty()) {
      return fmt::format("{}: {}", name, meaning);
    }
  }
  return {};
}

std::string hint_for(std::string_view unknown, const CLI::App& subcommand) {
  const std::string_view name = name_of(unknown);
  if (const std::string_view meaning = meaning_of(name); !meaning.empty())
    return std::string(meaning);
  if (name == "-n" && subcommand.get_option_no_throw("--limit") != nullptr)
    return "did you mean --limit N?";
  if (!name.starts_with("--")) return {};
  std::vector<std::string> words;
  for (const CLI::Option* option : subcommand.get_options()) {
    for (const std::string& word : option->get_lnames()) words.push_back(word);
  }
  const std::string nearest = nearest_of(name.substr(2), words);
  return nearest.empty() ? "" : fmt::format("did you mean --{}?", nearest);
}

std::string hint_for_command(std::string_view unknown, const CLI::App& program) {
  if (unknown.starts_with('-') || unknown.ends_with(".gguf"))
    return "want a command first: 'runnel chat' or 'runnel generate', say";
  std::vector<std::string> words;
  for (const CLI::App* command : program.get_subcommands({})) words.push_back(command->get_name());
  std::string meant(meaning_of(unknown, kCommands));
  if (meant.empty()) meant = nearest_of(unknown, words);
  return fmt::format("{}: no such command{}", unknown,
                     meant.empty() ? "" : fmt::format("; did you mean 'runnel {}'?", meant));
}

}  // namespace runnel::cli

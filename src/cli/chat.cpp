// runnel chat: a dialogue without end. The system prompt is pinned and never forgotten; of the rest
// the stream sees its window. Each turn passes the model once, when it is said.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/constraint_arguments.h"
#include "cli/dialogue.h"
#include "cli/files.h"
#include "cli/line_reader.h"
#include "cli/model_cache.h"
#include "cli/numbers.h"
#include "cli/pull.h"
#include "cli/signals.h"
#include "cli/stream_report.h"
#include "cli/terminal.h"
#include "cli/validators.h"

namespace runnel::cli {
namespace {

constexpr const char* kChatExamples = R"(Examples:
  runnel chat                                             with SmolLM2, fetched the first time
  runnel chat model.gguf
  runnel chat model.gguf --system "You answer in one sentence."
  runnel chat model.gguf --save talk.state                keep the dialogue,
  runnel chat model.gguf --resume talk.state --save talk.state     and go on with it
  printf 'Hello!\nAnd now in French.\n' | runnel chat model.gguf   a line a turn
  runnel chat model.gguf --one-turn <question.txt         all of it is one turn
  runnel chat model.gguf --json-schema person.json        every answer is JSON of that form

Ctrl-C stops the answer, not the dialogue; between answers it leaves, as Ctrl-D and /quit do. /help
lists the commands; without a terminal there are none (but see --commands), because piped text may be
anybody's. A message of several lines stands between two lines of """.)";

constexpr const char* kChatCommands =
    "/stats         position, what was forgotten, memory\n"
    "/system TEXT   begin anew with another system prompt\n"
    "/reset         begin anew with the same one\n"
    "/save FILE     write the dialogue's state; runnel chat --resume FILE goes on\n"
    "/quit          leave (Ctrl-C and Ctrl-D as well)\n"
    "\"\"\"            alone on a line: a message of several lines, up to the next such line\n"
    "A message may begin with / after a space.";
constexpr std::string_view kFence = "\"\"\"";

class Chat final : public Command {
 public:
  explicit Chat(CLI::App& program);
  bool is_chosen() const override { return app_->parsed(); }
  void run() override;

 private:
  void fetch_default_model() const;
  std::unique_ptr<Dialogue> open_dialogue(const Model& model) const;
  void talk(Dialogue& dialogue, StopSignals& stop);
  std::optional<std::string> message(const std::string& line, LineReader& reader,
                                     const StopSignals& stop) const;
  // A command that fails says so, and the dialogue goes on. False: leave.
  bool obey(std::string_view line, Dialogue& dialogue);
  void obey(std::string_view command, std::string_view rest, Dialogue& dialogue);
  void answer(std::string_view line, Dialogue& dialogue, const StopSignals& stop);
  void tell_eviction(const Dialogue& dialogue);
  void save(const Dialogue& dialogue, const std::string& path) const;
  void rescue(const Dialogue& dialogue) const;  // before an error ends the dialogue

  CLI::App* app_;
  ModelArguments model_;
  StreamArguments stream_;
  SamplingArguments sampling_;
  ConstraintArguments constraint_;
  std::string system_;
  std::string system_file_;
  std::string template_name_;
  std::int64_t n_answer_ = 0;
  std::string save_path_;
  std::string resume_path_;
  bool has_told_eviction_ = false;
  bool is_interactive_ = false;
  bool has_commands_ = false;
  bool is_one_turn_ = false;
};

Chat::Chat(CLI::App& program)
    : app_(program.add_subcommand("chat", "Talk with a model, without end")) {
  app_->footer(kChatExamples);
  model_.add_to(*app_);
  CLI::Option* system =
      app_->add_option("--system", system_, "What the model is told first; never forgotten")
          ->type_name("TEXT");
  CLI::Option* system_file =
      app_->add_option("--system-file", system_file_, "The same, from a file")
          ->type_name("FILE")
          ->excludes(system);
  app_->add_option("--chat-template", template_name_,
                   fmt::format("How turns are written, instead of the model's own template: the "
                               "name of another one in the file, or {}",
                               Dialogue::template_names()))
      ->type_name("NAME");
  app_->add_option("-n,--answer-tokens", n_answer_,
                   "Longest answer; 0: until the model has finished")
      ->type_name("N")
      ->check(whole_within(0, std::int64_t{1} << 62));
  CLI::Option* commands =
      app_->add_flag("--commands", has_commands_, "Obey /commands without a terminal too");
  app_->add_flag("--one-turn", is_one_turn_, "All of standard input is one turn, not each line")
      ->excludes(commands);
  app_->add_option("--save", save_path_, "Write the dialogue's state here at the end")
      ->type_name("FILE");
  CLI::Option* resume =
      app_->add_option("--resume", resume_path_, "Go on with a saved dialogue")->type_name("FILE");
  stream_.add_to(*app_);
  stream_.add_draft_to(*app_);
  sampling_.add_to(*app_);
  constraint_.add_to(*app_, "--json,--json-object");
  for (CLI::Option* option : stream_.all()) resume->excludes(option);
  resume->excludes(system)->excludes(system_file);
}

void Chat::run() {
  if (!save_path_.empty()) check_replaceable(save_path_);
  fetch_default_model();
  const Model model = model_.load();
  constraint_.prepare(model);
  const std::unique_ptr<Dialogue> dialogue = open_dialogue(model);
  StopSignals stop;
  try {
    talk(*dialogue, stop);
  } catch (const Error&) {
    rescue(*dialogue);
    throw;
  }
  if (!save_path_.empty()) save(*dialogue, save_path_);
}

// `runnel chat` alone works at a terminal, where the fetching is seen and can be stopped.
void Chat::fetch_default_model() const {
  const KnownModel* model = find_known_model(kDefaultModel);
  const char* chosen = std::getenv("RUNNEL_MODEL");
  const bool is_chosen = model_.is_given() || (chosen != nullptr && *chosen != '\0');
  if (is_chosen || !stderr_is_terminal() || is_pulled(*model)) return;
  tell(dim(fmt::format("No model is named: fetching {} ({} MB, {}), once.", model->about,
                       model->bytes / 1'000'000, model->licence)));
  pull(*model);
}

std::unique_ptr<Dialogue> Chat::open_dialogue(const Model& model) const {
  StreamOptions options = stream_.options();
  options.sampling = sampling_.over(options.sampling);
  const std::string system = system_file_.empty() ? system_ : read_file(system_file_);
  auto dialogue = std::make_unique<Dialogue>(model, options, template_name_, system);
  const ChatTemplate& chat = dialogue->chat_template();
  if (!chat.warning().empty()) tell(fmt::format("runnel: warning: {}", chat.warning()));
  if (resume_path_.empty()) {
    dialogue->reset();
  } else {
    dialogue->resume(resume_path_);
    const SamplingOptions& saved = dialogue->stream().options().sampling;
    if (sampling_.any_given()) dialogue->set_sampling(sampling_.over(saved));
  }
  return dialogue;
}

void Chat::talk(Dialogue& dialogue, StopSignals& stop) {
  LineReader reader("> ", state_file("chat_history"));
  is_interactive_ = reader.is_interactive();
  has_commands_ = !is_one_turn_ && (has_commands_ || is_interactive_);
  if (is_interactive_) {
    tell(dim(fmt::format("Written by {}.", dialogue.chat_template().name())));
    tell(dim("Ctrl-C stops an answer, Ctrl-D leaves, /help lists the commands."));
  }
  while (const std::optional<std::string> line = reader.next(stop)) {
    const std::optional<std::string> text = message(*line, reader, stop);
    if (!text) break;
    if (text->find_first_not_of(" \t\n") == std::string::npos) continue;
    const bool is_command = has_commands_ && line->starts_with('/');
    if (!is_command) {
      answer(*text, dialogue, stop);
    } else if (!obey(*line, dialogue)) {
      break;
    }
    stop.forget_interrupt();
  }
}

// What the line begins: itself, or several lines. nullopt: a request to stop came before its end.
std::optional<std::string> Chat::message(const std::string& line, LineReader& reader,
                                         const StopSignals& stop) const {
  const bool is_fenced = has_commands_ && line == kFence;
  if (!is_fenced && !is_one_turn_) return line;
  std::string text = is_fenced ? "" : line;
  bool is_begun = !is_fenced;
  while (const std::optional<std::string> next = reader.next(stop)) {
    if (is_fenced && *next == kFence) return text;
    text += (is_begun ? "\n" : "") + *next;
    is_begun = true;
  }
  return stop.requested() ? std::nullopt : std::optional(text);
}

bool Chat::obey(std::string_view line, Dialogue& dialogue) {
  const std::size_t space = std::min(line.find(' '), line.size());
  const std::string_view command = line.substr(0, space);
  const std::string_view rest = line.substr(std::min(space + 1, line.size()));
  if (command == "/quit" || command == "/exit") return false;
  try {
    obey(command, rest, dialogue);
  } catch (const Error& error) {
    complain(error.what());
  }
  return true;
}

void Chat::obey(std::string_view command, std::string_view rest, Dialogue& dialogue) {
  if (command == "/stats") {
    const Stream& stream = dialogue.stream();
    tell(fmt::format("{}\npinned {} tokens · window {} tokens · sees from position {}",
                     stream_report(stream, stream.position()), grouped(stream.options().sinks),
                     window_text(stream.options()), grouped(stream.horizon())));
  } else if (command == "/reset" || (command == "/system" && !rest.empty())) {
    if (command == "/system") {
      dialogue.reset(rest);
    } else {
      dialogue.reset();
    }
    has_told_eviction_ = false;
    tell(dim("A new dialogue."));
  } else if (command == "/save" && !rest.empty()) {
    save(dialogue, std::string(rest));
  } else if (command == "/help" || command == "/system" || command == "/save") {
    tell(kChatCommands);
  } else {
    throw Error(fmt::format(
        "{}: no such command, and nothing was sent; /help lists them, and a message may begin with "
        "/ after a space",
        command));
  }
}

void Chat::answer(std::string_view line, Dialogue& dialogue, const StopSignals& stop) {
  const Stopwatch watch;
  Output output;
  StatusLine status(is_interactive_);
  dialogue.say(line, [&](std::int64_t n) {
    if (n > 1000 && status.is_due()) status.show(fmt::format(" reading: {} tokens", grouped(n)));
    return !stop.requested();
  });
  status.close();
  dialogue.stream().set_constraint(constraint_.make());
  const double first_seconds = watch.seconds();
  std::int64_t n_tokens = 0;
  while (!stop.requested() && !output.is_closed() && (n_answer_ == 0 || n_tokens < n_answer_)) {
    const std::optional<std::string> text = dialogue.hear();
    if (!text) break;
    output.write(*text);
    ++n_tokens;
  }
  output.write(dialogue.end_answer());
  output.write(output.ends_line() ? "" : "\n");
  if (is_interactive_) {
    const double seconds = watch.seconds() - first_seconds;
    tell(dim(fmt::format("{} tokens · {} · {} to the first", grouped(n_tokens),
                         rate_text(static_cast<double>(n_tokens) / seconds),
                         seconds_text(first_seconds))));
  }
  tell_eviction(dialogue);
}

// Once in words; at a terminal then a short line after each turn.
void Chat::tell_eviction(const Dialogue& dialogue) {
  const std::int64_t n_evicted = dialogue.stream().evicted();
  if (n_evicted == 0) return;
  if (!has_told_eviction_) {
    const std::string_view kept = dialogue.has_system() ? ", the system prompt is kept" : "";
    tell(
        dim(fmt::format("The window of {} tokens is full: the oldest turns are being forgotten "
                        "({} tokens so far){}.",
                        window_text(dialogue.stream().options()), grouped(n_evicted), kept)));
  } else if (is_interactive_) {
    tell(dim(fmt::format("{} tokens forgotten so far", grouped(n_evicted))));
  }
  has_told_eviction_ = true;
}

void Chat::save(const Dialogue& dialogue, const std::string& path) const {
  dialogue.stream().save(path);
  tell(dim("Saved to " + path));
}

void Chat::rescue(const Dialogue& dialogue) const {
  if (save_path_.empty()) return;
  try {
    save(dialogue, save_path_);
  } catch (const Error& error) {  // the first error is the one to report
    complain(error.what());
  }
}

}  // namespace

std::unique_ptr<Command> add_chat(CLI::App& program) { return std::make_unique<Chat>(program); }

}  // namespace runnel::cli

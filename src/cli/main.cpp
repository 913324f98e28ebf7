// runnel: the command line. Exit codes: 0 done, 1 failure, 2 wrong usage, 128 and the signal's
// number when one stopped work that was not done.
#include <fmt/format.h>
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <clocale>
#include <csignal>
#include <exception>
#include <iostream>
#include <memory>
#include <new>
#include <sstream>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/files.h"
#include "cli/habits.h"
#include "cli/help_format.h"
#include "cli/signals.h"
#include "cli/terminal.h"

namespace {

constexpr const char* kDescription =
    "Large language models on endless streams, in constant memory and at constant speed.\n"
    "A stream keeps its first tokens (the sinks) and its last ones (the window), and forgets the "
    "rest.";

constexpr const char* kMainExamples = R"(Examples:
  runnel generate models/novella-7m-q8_0.gguf -p "It was a dark night"
  runnel chat                       talk with a real model, fetched when it is first wanted
  runnel info models/novella-7m-q8_0.gguf
  runnel generate --help

Environment:
  RUNNEL_MODEL  the model of commands that are given none: a file, or a name of 'runnel pull'
  RUNNEL_CACHE  the folder of pulled models (default: runnel in XDG_CACHE_HOME or ~/.cache)
  RUNNEL_ISA    the instruction set to use instead of the best: portable; avx2, avx_vnni,
                avx512, avx512_bf16, amx; dotprod, i8mm (64-bit ARM)
  NO_COLOR      when set, no colours)";

std::string usage_message(const CLI::App* app, const CLI::Error& error) {
  const std::vector<CLI::App*> chosen = app->get_subcommands();
  const std::vector<std::string> unknown = app->remaining(true);
  std::string text;
  if (chosen.empty() && !unknown.empty()) {
    text = runnel::cli::hint_for_command(unknown.front(), *app) + '\n';
  } else if (!chosen.empty()) {
    for (const std::string& word : unknown) {
      const std::string hint = runnel::cli::hint_for(word, *chosen.front());
      if (!hint.empty()) text += fmt::format("{}: {}\n", word, hint);
    }
  }
  if (text.empty()) text = fmt::format("{}\n", error.what());
  const std::string name = chosen.empty() ? "runnel" : "runnel " + chosen.front()->get_name();
  return runnel::cli::without_controls(fmt::format("runnel: {}Try '{} --help'.\n", text, name));
}

void run_chosen(const std::vector<std::unique_ptr<runnel::cli::Command>>& commands) {
  for (const auto& command : commands) {
    if (command->is_chosen()) command->run();
  }
}

// As the help or the version that was asked for, or what is wrong with the usage.
int answer_parsing(const CLI::App& program, const CLI::ParseError& error) {
  std::ostringstream out;
  const int code = program.exit(error, out, std::cerr);
  runnel::cli::print_out(out.str());
  return code == 0 ? 0 : 2;
}

int run(int argc, char** argv) {
  namespace cli = runnel::cli;
  CLI::App program(kDescription, "runnel");
  program.footer(kMainExamples);
  program.set_version_flag("--version", "runnel " RUNNEL_VERSION);
  program.require_subcommand(1);
  program.failure_message(usage_message);
  program.option_defaults()->always_capture_default();
  cli::use_help_format(program);

  std::vector<std::unique_ptr<cli::Command>> commands;
  commands.push_back(cli::add_generate(program));
  commands.push_back(cli::add_chat(program));
  commands.push_back(cli::add_serve(program));
  commands.push_back(cli::add_tokenize(program));
  commands.push_back(cli::add_detokenize(program));
  commands.push_back(cli::add_pull(program));
  commands.push_back(cli::add_info(program));
  commands.push_back(cli::add_ppl(program));
  commands.push_back(cli::add_bench(program));
  commands.push_back(cli::add_make_model(program));
  commands.push_back(cli::add_attention(program));
  commands.push_back(cli::add_ablate(program));
  commands.push_back(cli::add_table3(program));
  commands.push_back(cli::add_streameval(program));
  commands.push_back(cli::add_latency(program));
  commands.push_back(cli::add_report(program));
  try {
    std::vector<std::string> arguments(argv + 1, argv + argc);
    const std::string foreign = cli::translate(arguments);
    if (!foreign.empty()) throw CLI::ValidationError(foreign);
    arguments = cli::with_kind_first(std::move(arguments));
    std::reverse(arguments.begin(), arguments.end());  // as the parser takes them
    program.parse(std::move(arguments));
    run_chosen(commands);
    return cli::unfinished_exit_code();
  } catch (const CLI::ParseError& error) {
    return answer_parsing(program, error);
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::setlocale(LC_CTYPE, "");
  std::signal(SIGPIPE, SIG_IGN);  // a closed output shows as a failed write,
  std::signal(SIGXFSZ, SIG_IGN);  // and so does a file that would grow too large
#ifdef M_MMAP_THRESHOLD
  ::mallopt(M_MMAP_THRESHOLD, 1 << 20);  // what is large goes back to the system when it is freed
#endif
  try {
    return run(argc, argv);
  } catch (const runnel::cli::Stopped& stopped) {
    runnel::cli::complain(stopped.what());
    return stopped.exit_code();
  } catch (const std::bad_alloc&) {
    runnel::cli::complain("not enough memory");
    return 1;
  } catch (const std::exception& error) {
    runnel::cli::complain(error.what());
    return 1;
  }
}

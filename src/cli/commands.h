// The subcommands of `runnel`, each in a file of its own: what it needs from the command line, and
// what it does.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace runnel::cli {

class Command {
 public:
  virtual ~Command() = default;
  virtual bool is_chosen() const = 0;  // named on the command line; valid after parsing
  virtual void run() = 0;              // throws Error for whatever comes from outside
};

// Each adds its subcommand to the program; the Command must live until parsing and run() are done.
std::unique_ptr<Command> add_generate(CLI::App& program);
std::unique_ptr<Command> add_chat(CLI::App& program);
std::unique_ptr<Command> add_tokenize(CLI::App& program);
std::unique_ptr<Command> add_detokenize(CLI::App& program);
std::unique_ptr<Command> add_pull(CLI::App& program);
std::unique_ptr<Command> add_info(CLI::App& program);
std::unique_ptr<Command> add_ppl(CLI::App& program);
std::unique_ptr<Command> add_bench(CLI::App& program);
std::unique_ptr<Command> add_make_model(CLI::App& program);
std::unique_ptr<Command> add_serve(CLI::App& program);
// The laboratory: the paper's experiments on the user's own model and text.
std::unique_ptr<Command> add_attention(CLI::App& program);
std::unique_ptr<Command> add_ablate(CLI::App& program);
// `ablate --layers` as `ablate layers`.
std::vector<std::string> with_kind_first(std::vector<std::string> arguments);
std::unique_ptr<Command> add_table3(CLI::App& program);
std::unique_ptr<Command> add_streameval(CLI::App& program);
std::unique_ptr<Command> add_latency(CLI::App& program);
std::unique_ptr<Command> add_report(CLI::App& program);

}  // namespace runnel::cli

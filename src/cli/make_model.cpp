// runnel make-model: a file of random weights in the shape of a real model.
#include "model/make_model.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <string>

#include "cli/commands.h"
#include "cli/files.h"
#include "cli/numbers.h"
#include "cli/validators.h"
#include "runnel/error.h"

namespace runnel::cli {
namespace {

std::string footer() {
  std::string text = R"(Examples:
  runnel make-model --shape llama-2-7b --type q4_0 random-7b.gguf
  runnel make-model --arch falcon --type f32 tiny-falcon.gguf
  runnel bench random-7b.gguf

What such a model says is noise; its speed and its memory are those of the real one.

Shapes:
)";
  for (const ModelShape& shape : model_shapes()) {
    if (shape.name != "tiny") text += fmt::format("  {:<16} {}\n", shape.name, shape.architecture);
  }
  text += "  tiny             the one of --arch (see runnel info --list-architectures), or llama\n";
  return text +
         "\nTypes: f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k q4_k q5_k q6_k mxfp4 "
         "nvfp4 iq1_s iq1_m iq2_xxs iq2_xs iq2_s iq3_xxs iq3_s iq4_nl iq4_xs tq1_0 tq2_0, and the "
         "mixes q4_k_m q5_k_m";
}

class MakeModel final : public Command {
 public:
  explicit MakeModel(CLI::App& program)
      : app_(program.add_subcommand("make-model",
                                    "Make a model of random weights in a real one's shape")) {
    app_->footer(footer());
    app_->add_option("OUT", out_, "The file to write")->required()->type_name("FILE");
    app_->add_option("--shape", shape_, "Sizes of the model")->type_name("NAME");
    app_->add_option("--arch", architecture_,
                     "Architecture, where the shape does not say it (default llama)")
        ->type_name("NAME");
    app_->add_option("--type", type_, "How its matrices are stored")->type_name("TYPE");
    app_->add_option("--seed", seed_, "The same seed makes the same file")
        ->type_name("N")
        ->check(any_seed());
    app_->callback([this] { check_usage(); });
  }
  bool is_chosen() const override { return app_->parsed(); }
  void run() override {
    make_model(shape(), StorageType::parse(type_), seed_, out_);
    print_out(fmt::format("{}: {}\n", out_, bytes_text(std::filesystem::file_size(out_))));
  }

 private:
  const ModelShape& shape() const {
    const bool is_any = shape_ == "tiny" && architecture_.empty();
    return find_shape(shape_, is_any ? "llama" : architecture_);
  }
  void check_usage() const {
    try {
      shape();
      StorageType::parse(type_);
    } catch (const Error& error) {
      throw CLI::ValidationError(error.what());
    }
  }

  CLI::App* app_;
  std::string out_;
  std::string shape_ = "tiny";
  std::string architecture_;
  std::string type_ = "q4_0";
  std::uint64_t seed_ = 0;
};

}  // namespace

std::unique_ptr<Command> add_make_model(CLI::App& program) {
  return std::make_unique<MakeModel>(program);
}

}  // namespace runnel::cli

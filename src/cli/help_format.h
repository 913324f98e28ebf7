// How --help looks: options in two columns, descriptions wrapped at 100 columns, the default at the
// end.
#pragma once

namespace CLI {
class App;
}

namespace runnel::cli {

// For the program and for every subcommand added later.
void use_help_format(CLI::App& program);

}  // namespace runnel::cli

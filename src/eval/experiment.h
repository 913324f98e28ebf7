// What every experiment of the laboratory has in common when it becomes a section.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "eval/section.h"
#include "runnel/runnel.h"

namespace runnel::eval {

// The model's facts that belong to every result: name, architecture, trained context.
inline std::vector<std::pair<std::string, Cell>> model_settings(const Model& model) {
  return {{"model", model.name()},
          {"architecture", model.architecture()},
          {"trained_context", std::int64_t{model.trained_context()}},
          {"instruction_set", std::string(model.instruction_set())},
          {"threads", std::int64_t{model.threads()}}};
}

}  // namespace runnel::eval

#include "cli/resume.h"

#include <fmt/format.h>

#include <utility>

#include "cli/terminal.h"
#include "engine/internals.h"
#include "engine/snapshot.h"

namespace runnel::cli {

Stream resume(const Model& model, const std::filesystem::path& path) {
  Snapshot saved = read_snapshot(path);
  const std::string saved_on = saved.device;
  Stream stream = Model::Internals::resume(model, std::move(saved), path.string());
  const std::string goes_on = model.device().name;
  if (!saved_on.empty() && saved_on != goes_on) {
    tell(dim(fmt::format("Saved on {}, goes on on {}: as it would have there but for rounding.",
                         saved_on, goes_on)));
  }
  return stream;
}

}  // namespace runnel::cli

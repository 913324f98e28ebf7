#include "support/paths.h"

namespace runnel::test {

// The one file that knows the checkout's place: every other object is the same in all checkouts,
// and comes from a compiler cache.
std::filesystem::path source_dir() { return RUNNEL_SOURCE_DIR; }

}  // namespace runnel::test

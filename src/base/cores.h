// How many threads a machine computes with best: one for each of its fast cores.
#pragma once

#include <filesystem>
#include <optional>
#include <span>

namespace runnel {

// Of the processors that this process may use, numbered as Linux does: a core's two threads count
// once, for they share its arithmetic, and slow cores beside fast ones not at all, for a step waits
// for the slowest. At least 1. `sys`: what Linux tells of its devices; what it does not tell counts
// as a fast core of its own.
int fast_cores(std::span<const int> processors, const std::filesystem::path& sys = "/sys/devices");

// As many cores as the process's groups may keep busy, which is how a container is given one and a
// half: 2; nothing where there is no such limit. `groups`: where Linux shows them, in either
// version; `own`: which of them this process is in.
std::optional<int> granted_cores(const std::filesystem::path& groups = "/sys/fs/cgroup",
                                 const std::filesystem::path& own = "/proc/self/cgroup");

}  // namespace runnel

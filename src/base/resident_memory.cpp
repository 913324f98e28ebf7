#include "base/resident_memory.h"

#include <unistd.h>

#include <fstream>

namespace runnel {

std::size_t resident_bytes() {
  std::size_t n_pages = 0;
  std::size_t n_resident = 0;
  std::ifstream("/proc/self/statm") >> n_pages >> n_resident;
  return n_resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace runnel

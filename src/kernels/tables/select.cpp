// Chooses the kernels: the best this machine runs, or what RUNNEL_ISA names.
#include <cstdlib>
#include <string>
#include <string_view>

#include "kernels/kernels.h"
#include "runnel/error.h"

namespace runnel::kernels {
namespace {

const Table& choose() {
  const Tables tables = attainable_tables();
  if (tables.size == 0)
    throw Error(
        "the kernels compiled into this program are for another processor; build it here, or with "
        "all kernels");
  const char* wanted = std::getenv("RUNNEL_ISA");
  if (wanted == nullptr || *wanted == '\0') return *tables.items[tables.size - 1];
  std::string names;
  for (const Table* table : tables) {
    if (table->name == std::string_view(wanted)) return *table;
    names += names.empty() ? table->name : std::string(", ") + table->name;
  }
  throw Error(std::string("RUNNEL_ISA: no kernels named '") + wanted +
              "' run on this machine, which has: " + names);
}

}  // namespace

const Table& best_table() {
  static const Table& table = choose();
  return table;
}

}  // namespace runnel::kernels

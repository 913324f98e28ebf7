#include "kernels/kernels.h"
#include "kernels/tables/built.h"  // RUNNEL_BUILT_TABLES: the compiled ones, by cmake/kernels.cmake
#include "kernels/tables/runs.h"

namespace runnel::kernels {

#define RUNNEL_DECLARE(name) \
  namespace name {           \
  extern const Table kTable; \
  }
RUNNEL_BUILT_TABLES(RUNNEL_DECLARE)

Tables attainable_tables() {
  Tables tables = {{}, 0};
#define RUNNEL_ADD(name) \
  if (runs::name()) tables.items[tables.size++] = &name::kTable;
  RUNNEL_BUILT_TABLES(RUNNEL_ADD)
  return tables;
}

}  // namespace runnel::kernels

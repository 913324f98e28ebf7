#include "kernels/tables.h"

namespace runnel::kernels {

Tables attainable_tables() { return {{&kPortable}, 1}; }

}  // namespace runnel::kernels

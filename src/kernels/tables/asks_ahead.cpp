#include "kernels/tables/asks_ahead.h"

namespace runnel::kernels {

bool asks_ahead() { return false; }  // not measured

}  // namespace runnel::kernels

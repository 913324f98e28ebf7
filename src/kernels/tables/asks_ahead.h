// Whether this processor reads a stream of memory faster when it is asked for lines kilobytes
// ahead.
#pragma once

namespace runnel::kernels {

// Measured: Intel's read half as much while a token alone multiplies, for a page's end stops what
// they fetch by themselves; AMD's read a tenth more without.
bool asks_ahead();

}  // namespace runnel::kernels

// The page at "/": a client of the public interface like any other, in files that a browser reads.
#pragma once

#include <vector>

#include "serve/protocols/exchange.h"

namespace runnel::serve {

// The page needs no key; what it asks for does, and it asks whoever looks at it for one.
std::vector<Route> page_routes();

}  // namespace runnel::serve

// The kernels' sources (kernels/*.cl), put into the program when it is built.
#pragma once

#include <string_view>

namespace runnel::opencl {

extern const std::string_view kCommonSource;
extern const std::string_view kRowsSource;
extern const std::string_view kProductSource;
extern const std::string_view kSampleSource;
extern const std::string_view kAttentionSource;

}  // namespace runnel::opencl

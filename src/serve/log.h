// Lines for whoever runs the server, on standard error: as text, or each as a JSON object.
#pragma once

#include <string_view>

namespace runnel::serve {

enum class LogFormat { kText, kJson };

// Of the process; set once, before threads write.
void set_log_format(LogFormat format);
void log_info(std::string_view text);
void log_warning(std::string_view text);

}  // namespace runnel::serve

// Prometheus' text format.
#pragma once

#include <string>

#include "serve/hub/histogram.h"

namespace runnel::serve {

class MetricsText {
 public:
  // `kind`: "gauge", or "counter".
  void value(const char* name, const char* kind, const char* help, double value);
  void histogram(const char* name, const char* help, const Histogram& h);
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace runnel::serve

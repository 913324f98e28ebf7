// Whoever keeps the rows of streams elsewhere too, so that another process can go on with them.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace runnel::serve {

// Rows by name: "stream", "conversation", "item ID", "response ID", "event ID NUMBER", "tokens
// POSITION". What they hold is the store's matter.
using StreamRows = std::map<std::string, std::string>;

class StoreMirror {
 public:
  virtual ~StoreMirror() = default;
  // From any thread, after the store has written the same; done when this returns. Error: it cannot
  // be done, or somebody else has the stream now.
  virtual void put(const std::string& stream, const std::string& row, const std::string& value) = 0;
  virtual void drop(const std::string& stream, const std::vector<std::string>& rows) = 0;
  virtual void drop_all(const std::string& stream) = 0;
};

}  // namespace runnel::serve

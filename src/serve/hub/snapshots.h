// Where streams are kept while they are not in memory.
#pragma once

#include <filesystem>
#include <string>

#include "runnel/runnel.h"

namespace runnel::serve {

// From any thread; of one stream, one at a time. Error: it cannot be written or read.
class Snapshots {
 public:
  virtual ~Snapshots() = default;
  virtual void save(const std::string& id, const Stream& stream) = 0;
  virtual Stream load(const Model& model, const std::string& id) = 0;
  virtual void remove(const std::string& id) = 0;  // also where there is none
};

// A file a stream.
class SnapshotFolder final : public Snapshots {
 public:
  explicit SnapshotFolder(std::filesystem::path folder) : folder_(std::move(folder)) {}
  void save(const std::string& id, const Stream& stream) override { stream.save(path_of(id)); }
  Stream load(const Model& model, const std::string& id) override {
    return model.resume(path_of(id));
  }
  void remove(const std::string& id) override {
    std::error_code ignored;
    std::filesystem::remove(path_of(id), ignored);
  }

 private:
  std::filesystem::path path_of(const std::string& id) const { return folder_ / (id + ".state"); }
  std::filesystem::path folder_;
};

}  // namespace runnel::serve

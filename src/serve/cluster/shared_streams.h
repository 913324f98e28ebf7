// Streams that several servers share: their rows and snapshots are in Redis, and each stream has
// one owner at a time.
//
// Who owns a stream has a lease on it, which ends by itself when its owner is gone, and a fencing
// number, larger than any before. Redis takes a write only with the number that was given out last:
// an owner that was thought dead and comes back can change nothing.
//
//   runnel:{ID}:fence   the last number given out       runnel:{ID}:rows      hash of rows
//   runnel:{ID}:owner   of the lease; expires            runnel:{ID}:snapshot  of the stream
//   runnel:{ID}:wanted  somebody else waits for it       runnel:response:ID    its stream
//   runnel:conversations  sorted set of all ids, by when they were made
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "runnel/runnel.h"
#include "serve/cluster/redis.h"
#include "serve/hub/snapshots.h"
#include "serve/store/store.h"
#include "serve/store/store_mirror.h"

namespace runnel::serve {

// From any thread.
class SharedStreams final : public StoreMirror, public Snapshots {
 public:
  // `owner`: a name that no other server has.
  SharedStreams(const RedisAddress& address, std::string owner, std::chrono::milliseconds lease);

  enum class Claim { kMine, kTaken, kUnknown };
  // Makes the stream this server's, where nobody has it. kTaken: somebody has; they are asked to
  // let it go. kUnknown: there is no such stream.
  Claim claim(const std::string& stream);
  // Nothing more is written until somebody claims it again.
  void release(const std::string& stream);
  // The stream that a response was written on; empty: no such response.
  std::string stream_of(const std::string& response);
  StreamRows rows(const std::string& stream);
  // Those of all servers, in the order in which they were made.
  std::vector<StoredConversation> conversations(const Page& page);

  // Makes the leases longer. What somebody else took is lost; what somebody waits for is wanted.
  struct Renewal {
    std::vector<std::string> lost, wanted;
  };
  Renewal renew();

  // A stream that nobody knows yet becomes this server's with its first row.
  void put(const std::string& stream, const std::string& row, const std::string& value) override;
  void drop(const std::string& stream, const std::vector<std::string>& rows) override;
  void drop_all(const std::string& stream) override;

  void save(const std::string& id, const Stream& stream) override;
  Stream load(const Model& model, const std::string& id) override;
  void remove(const std::string& id) override;

 private:
  std::int64_t claim_by(Redis& redis, const std::string& stream, bool is_new);
  std::string number_for(const std::string& stream);
  std::optional<std::string> number_of(const std::string& stream) const;

  Redis rows_;    // of what is written while streams take steps
  Redis leases_;  // and of what takes longer
  std::string owner_;
  std::string lease_;  // milliseconds
  mutable std::mutex mutex_;
  std::map<std::string, std::string> numbers_;  // of streams that are this server's
};

}  // namespace runnel::serve

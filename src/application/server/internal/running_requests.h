// The answers that are being made right now, and how far each is. Knows ids, counts and time. Must
// not know what they say.
#pragma once

#include <chrono>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "domain/claude/service.h"

namespace pensieve::server {

struct RunningRequest {
  std::string id;
  std::string_view route;  // of the table
  std::chrono::steady_clock::time_point begin{};
  bool begun = false;     // the engine has begun with the prompt
  int cached_tokens = 0;  // of the prompt, once begun
  engine::Progress progress{};
};

// Any thread.
class RunningRequests {
  struct Node {
    RunningRequest request;
    const claude::Answer* answer;
  };

 public:
  // One of them, from construction to destruction; `answer` and the list outlive it.
  class Entry {
   public:
    Entry(RunningRequests& list, RunningRequest request, const claude::Answer& answer)
        : list_(list) {
      const std::lock_guard lock(list_.mutex_);
      node_ = list_.nodes_.insert(list_.nodes_.end(), {std::move(request), &answer});
    }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;
    ~Entry() {
      const std::lock_guard lock(list_.mutex_);
      list_.nodes_.erase(node_);
    }
    void begun(int cached_tokens) {
      const std::lock_guard lock(list_.mutex_);
      node_->request.begun = true;
      node_->request.cached_tokens = cached_tokens;
    }

   private:
    RunningRequests& list_;
    std::list<Node>::iterator node_;
  };

  // The oldest first.
  std::vector<RunningRequest> list() const {
    std::vector<RunningRequest> requests;
    const std::lock_guard lock(mutex_);
    for (const Node& node : nodes_) {
      requests.push_back(node.request);
      requests.back().progress = node.answer->progress();
    }
    return requests;
  }

 private:
  mutable std::mutex mutex_;
  std::list<Node> nodes_;
};

}  // namespace pensieve::server

// Runs a program: stacks of places in rules, several where a text can still be read in several
// ways. A stack is a Thread: its innermost place by value, the calls around it as shared frames.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "domain/grammar/internal/program.h"

namespace pensieve::grammar::internal {

// A pointer that shares what it points to by a count inside it. One thread at a time.
template <typename T>
class Ref {
 public:
  Ref() = default;
  explicit Ref(T* fresh) : at_(fresh) { retain(); }
  Ref(const Ref& other) : at_(other.at_) { retain(); }
  Ref(Ref&& other) noexcept : at_(std::exchange(other.at_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(at_, other.at_);
    return *this;
  }
  ~Ref() {
    if (at_ != nullptr && --at_->n_refs == 0) T::destroy(at_);
  }
  const T* operator->() const { return at_; }
  const T& operator*() const { return *at_; }
  const T* get() const { return at_; }
  explicit operator bool() const { return at_ != nullptr; }
  bool operator==(const Ref& other) const { return at_ == other.at_; }
  // Gives up the pointer; true if nobody else has it.
  T* release_if_last() {
    if (at_ == nullptr) return nullptr;
    T* const was = std::exchange(at_, nullptr);
    return --was->n_refs == 0 ? was : nullptr;
  }

 private:
  void retain() {
    if (at_ != nullptr) ++at_->n_refs;
  }
  T* at_ = nullptr;
};

// The members that an object has so far.
struct Members {
  mutable std::uint32_t n_refs = 0;
  std::vector<std::uint64_t> used;         // properties, one bit each
  std::vector<std::uint64_t> extra_names;  // hashes, sorted
  int n_members = 0;
  int n_required_left = 0;

  static void destroy(const Members* members) { delete members; }
};

// A place in a rule. What `phase` and `at` mean is for the rule to say (machine.cpp).
struct Place {
  RuleId rule = 0;
  std::uint32_t phase = 0;
  std::uint32_t at = 0;    // a state of a DFA, or bytes read of a literal
  std::uint32_t low = 0;   // a range of literals; low: characters or items counted
  std::uint32_t high = 0;  //
  std::uint64_t hash = 0;  // of the name so far
  Ref<const Members> members = {};

  bool operator==(const Place&) const = default;
};

struct Frame {
  mutable std::uint32_t n_refs = 0;
  Place place;  // where to go on once the call is over
  Ref<const Frame> parent;
  int rest = 0;   // bytes of the shortest completion from there to the end of the answer
  int depth = 0;  // brackets that are open

  // Takes a chain down without recursion: it is as long as the text nests.
  static void destroy(const Frame* frame);
};

struct Thread {
  Place place;
  Ref<const Frame> parent;  // none: the outermost rule

  bool operator==(const Thread&) const = default;
};
using Threads = std::vector<Thread>;

class Machine {
 public:
  // The program outlives the machine.
  explicit Machine(const Program& program) : program_(program) {}

  Threads start() const;
  // Appends where `thread` may be behind `byte`.
  void step(const Thread& thread, std::uint8_t byte, Threads& out) const;
  // All of `from` behind `byte`, each once; at most kMaxThreads of them.
  void step_all(const Threads& from, std::uint8_t byte, Threads& out) const;
  // Behind `bytes`; empty if they do not fit.
  Threads run(const Thread& from, std::string_view bytes) const;

  // Leaves the kMaxThreads that are soonest complete.
  void keep_nearest(Threads& threads) const;

  bool may_end(const Thread& thread) const;
  // Inside a call or value that has begun.
  bool inside(const Thread& thread) const;
  bool in_free_text(const Thread& thread) const;

  // An upper bound of the bytes of the shortest completion, and a true one: from every place where
  // it is n > 0 some byte leads to one where it is at most n - 1.
  int distance(const Thread& thread) const;
  // At least distance(), and cheap.
  int distance_at_most(const Thread& thread) const;
  // How many brackets are open.
  int depth(const Thread& thread) const { return thread.parent ? thread.parent->depth : 0; }

  const Program& program() const { return program_; }
  const TextRule* text_rule(const Thread& thread) const {
    return std::get_if<TextRule>(&program_.rules[thread.place.rule].body);
  }
  // The object around the name that a thread is in, if it is in an extra name.
  const ObjectRule::Extra* extra_of(const Thread& thread) const;
  // Behind the closing quote of a name, or a value: what the caller goes on with. Nothing if the
  // name whose hash is `hash` is taken.
  bool leave(const Thread& thread, std::uint64_t hash, Thread& out) const;

  static std::uint64_t hash_step(std::uint64_t hash, std::uint8_t byte) {
    return (hash ^ byte) * 0x100000001B3u;  // FNV-1a, 64 bit
  }

  static constexpr std::size_t kMaxThreads = 64;

 private:
  void enter(NodeId node, const Ref<const Frame>& caller, Threads& out) const;
  Ref<const Frame> call_from(Place place, const Ref<const Frame>& parent, int depth) const;
  int place_distance(const Place& place, int depth) const;

  void step_rule(const EndRule&, const Thread&, std::uint8_t, Threads&) const {}
  void step_rule(const TextRule&, const Thread&, std::uint8_t, Threads&) const;
  void step_rule(const ChoiceRule&, const Thread&, std::uint8_t, Threads&) const;
  void step_rule(const ArrayRule&, const Thread&, std::uint8_t, Threads&) const;
  void step_rule(const ObjectRule&, const Thread&, std::uint8_t, Threads&) const;
  void step_rule(const CallsRule&, const Thread&, std::uint8_t, Threads&) const;
  void begin_name(const ObjectRule&, const Thread&, Threads&) const;
  void step_name(const ObjectRule&, const Thread&, std::uint8_t, Threads&) const;
  void step_head(const CallsRule&, const Thread&, std::uint8_t, Threads&) const;
  bool fits(NodeId node, int depth) const;
  bool may_add(const ObjectRule&, const Members&, std::uint32_t property, int depth) const;
  bool may_add(const ObjectRule&, const Members&, const ObjectRule::Extra&, int depth) const;
  bool may_add_any(const ObjectRule&, const Members&, int depth) const;
  int name_distance(const TextRule&, const Thread&) const;

  // `depth`: the brackets that are open inside the place.
  int distance_in(const EndRule&, const Place&, int) const { return 0; }
  int distance_in(const TextRule&, const Place&, int depth) const;
  int distance_in(const ChoiceRule&, const Place&, int depth) const;
  int distance_in(const ArrayRule&, const Place&, int depth) const;
  int distance_in(const ObjectRule&, const Place&, int depth) const;
  int distance_in(const CallsRule&, const Place&, int depth) const;

  const Program& program_;
};

}  // namespace pensieve::grammar::internal

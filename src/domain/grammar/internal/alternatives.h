// What a schema means in one place, with its references followed and its choices made: a list of
// alternatives, each a set of schemas that hold together and have no choices left.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "domain/grammar/internal/budget.h"
#include "domain/grammar/internal/negation.h"
#include "domain/grammar/internal/schema.h"

namespace pensieve::grammar::internal {

// Schemas that must all hold, sorted, each once.
using Conjunction = std::vector<Schema>;

struct Alternative {
  Conjunction schemas;
  unsigned types = kAnyType;
};

class AlternativeFinder {
 public:
  // `strict`: of each option of a oneOf only what no other option takes, were nothing left of it.
  AlternativeFinder(SchemaCache& cache, Budget& budget, std::set<std::string>& widened, bool strict)
      : cache_(cache), budget_(budget), widened_(widened), strict_(strict) {}

  // At least one, unless nothing can fit. What is not understood is left out, and its keyword is
  // put into `widened`. What the schemas point to must outlive the finder.
  std::vector<Alternative> find(const Conjunction& conjunction);

 private:
  struct Choice {
    std::vector<Conjunction> options;
  };
  struct Branch {
    std::vector<Schema> todo;
    std::set<const Json*> seen;
    Alternative so_far;
    std::deque<Choice> choices;
    int n_choices = 0;  // made, among several options
  };

  bool settle(Branch& branch);
  bool apply(const std::string& keyword,
             const Json& argument,
             const Schema& schema,
             Branch& branch);
  void explore(Branch branch);
  Choice one_of(const Schema& owner, const Json& options);
  bool apart(const Schema& from, const Schema& other, const Schema& owner);
  unsigned emitted_types(const Schema& schema, int nesting);
  // negation_of(), made once for each schema; null for none.
  const Json* negation(const Json& schema, Cover cover);
  // A schema of our own, the same for the same place and number each time: recursion must come back
  // to what it has seen.
  template <typename Make>
  Schema made(const Schema& place, const Json* source, int number, Make make);
  const Json* resolved(const Schema& schema, int nesting = 0);

  SchemaCache& cache_;
  Budget& budget_;
  std::set<std::string>& widened_;
  const bool strict_;
  std::deque<Json> made_;
  std::map<std::pair<const Json*, int>, const Json*> made_for_;
  std::map<std::pair<const Json*, Cover>, const Json*> negations_;
  std::vector<Alternative>* out_ = nullptr;
  int n_branches_ = 0;
};

// The types that a schema's words are about, where it does not name a type itself; 0 if it has
// none.
unsigned implied_types(const Conjunction& schemas);

}  // namespace pensieve::grammar::internal

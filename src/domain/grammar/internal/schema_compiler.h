// JSON Schemas -> nodes of a program.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "domain/grammar/internal/alternatives.h"
#include "domain/grammar/internal/budget.h"
#include "domain/grammar/internal/program.h"
#include "domain/grammar/internal/schema.h"

namespace pensieve::grammar::internal {

class SchemaCompiler {
 public:
  // `strict`: a value that two options of a oneOf take is left out, even if nothing else fits.
  SchemaCompiler(Program& program, bool strict);

  // The node of a schema; of any value if the text is no schema. `object`: nothing but an object
  // fits, whatever the schema says. What is reachable from there is compiled by finish().
  NodeId add(std::string_view schema_json, bool object);
  // Any value, or any object.
  NodeId anything(bool object);
  // Compiles what was added, finds all costs, and lists in the program what was widened. A node
  // that was added and that nothing fits takes anything then: false if there was one.
  bool finish();

 private:
  NodeId node_of(Conjunction conjunction);
  void compile(NodeId node, const Conjunction& conjunction);
  void add_rules(const Alternative& alternative, Node& node, std::vector<std::string>& values);
  bool add_listed(const Alternative& alternative, std::vector<std::string>& values);
  void add_number(const Alternative& alternative,
                  unsigned types,
                  Node& node,
                  std::vector<std::string>& values);
  std::optional<RuleId> text_rule(const Conjunction& schemas);
  std::optional<RuleId> array_rule(const Conjunction& schemas);
  std::optional<RuleId> object_rule(const Conjunction& schemas);
  std::optional<RuleId> make_text_rule(const TextSet& set, int min, int max, bool free);
  // The texts that the words about strings allow, their lengths left apart.
  std::optional<TextSet> texts_of(const Conjunction& schemas, int& min, int& max, bool& free);

  // An object's words, gathered from all the schemas that hold for it.
  struct ObjectWords;
  ObjectWords gather(const Conjunction& schemas);
  Conjunction member_schemas(const ObjectWords& words, const std::string& name);
  void add_extras(const ObjectWords& words, ObjectRule& rule);
  std::optional<ObjectRule::Extra> make_extra(const TextSet& names, NodeId value);

  RuleId add_rule(Rule rule);
  DfaId add_dfa(Dfa dfa);
  void widen(std::string_view keyword) { widened_.insert(std::string(keyword)); }

  Program& program_;
  Budget budget_;
  std::set<std::string> widened_;
  SchemaCache cache_;
  AlternativeFinder alternatives_;
  std::vector<std::unique_ptr<SchemaDocument>> documents_;
  std::map<std::vector<const Json*>, NodeId> nodes_;
  std::vector<std::pair<NodeId, Conjunction>> todo_;
  std::map<std::string, std::optional<RuleId>> rules_;  // of strings and numbers, by what they say
  std::vector<std::pair<NodeId, bool>> roots_;
  bool lenient_ = false;  // names that are required and cannot be there are no longer required
};

}  // namespace pensieve::grammar::internal

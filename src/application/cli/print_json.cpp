#include "application/cli/print_json.h"

#include <cstdio>

namespace pensieve::cli {

void print_json(const Json& value, int indent) {
  std::printf("%s\n", value.dump(indent, ' ', false, Json::error_handler_t::replace).c_str());
}

}  // namespace pensieve::cli

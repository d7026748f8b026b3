// How probable the tokens of an answer were, for clients that ask. A plain value.
#pragma once

#include <string>
#include <vector>

namespace pensieve::claude {

struct TokenScore {
  struct Alternative {
    std::string bytes;
    float logprob = 0;
  };
  std::string bytes;             // what the token stands for; may be a part of a character
  float logprob = 0;             // natural logarithm
  std::vector<Alternative> top;  // the most probable tokens at this place, best first
};

}  // namespace pensieve::claude

// What every chat format does with the parts of a turn: white space, and which tools are shown.
// Must not know control tokens or templates.
#pragma once

#include <string>
#include <string_view>

#include "domain/api/messages.h"

namespace pensieve::chat {

// Without white space in front (Unicode's White_Space, which is what tokenizers strip), and behind
// (ASCII's, which is what clients strip).
std::string_view trim_left(std::string_view text);
std::string_view trim(std::string_view text);
bool is_blank(std::string_view text);

// Adds a part on a line of its own. Blank parts vanish: clients drop blank blocks from one request
// to the next.
void add_part(std::string& out, std::string_view part);

// Whether a tool stands in the prompt's list. One that is deferred is shown where a tool_reference
// names it; in the list it would move all that stands behind it. Tools that run on Anthropic's own
// servers are not shown at all: nobody here could answer a call.
bool is_listed(const api::Tool& tool);
bool runs_elsewhere(const api::Tool& tool);

}  // namespace pensieve::chat

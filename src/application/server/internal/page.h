// The page that people look at: one HTML file inside the binary, with its own style and script.
// Knows the bytes and what a browser may do with them. What it shows it asks for, with the token.
#pragma once

#include <string>
#include <string_view>

namespace pensieve::server {

// page/index.html. Lives as long as the process.
std::string_view page_html();

// The policy that the page is sent with (Content Security Policy Level 3): the style and the script
// in it run, named by their SHA-256, and nothing else is loaded, sent elsewhere or framed.
const std::string& page_policy();

}  // namespace pensieve::server

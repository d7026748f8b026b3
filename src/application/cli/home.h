// The home directory: where the access token and the models lie. Private to the user: the directory
// has mode 0700, the token file 0600, and no link is followed on the way to the token.
#pragma once

#include <optional>
#include <string>

#include "foundation/result.h"

namespace pensieve::cli {

// PENSIEVE_HOME, else ~/.pensieve-local-llm-server, absolute. Creates nothing. Errors: NotFound
// when the system knows no home directory for this user.
Result<std::string> home_directory();

// Makes the directory, and its mode 0700, if that is needed. Errors: as for access_token().
Result<void> make_home(const std::string& home);

struct Token {
  std::string value;
  std::string file;  // empty: it came from PENSIEVE_TOKEN
};

// PENSIEVE_TOKEN, else the file `token` in `home`; both are made at first use, the token of 32
// random bytes in hexadecimal, visible only when complete. Any number of processes may do this at
// once and read the same token. Errors: InvalidRequest for a token that cannot stand in a header,
// Permission for a directory or file that is not this user's own, Internal for what the system
// refuses; each names the path.
Result<Token> access_token(const std::string& home);

// PENSIEVE_MEMORY_ROOT: a directory that stands before /proc and /sys where memory is read, to see
// what Pensieve does when memory gets short. Empty: the machine itself.
std::string memory_root();

// 32 random bytes in hexadecimal. Errors: Internal.
Result<std::string> random_hex();

// `home`/models/default if there is such a file, directory or link.
std::optional<std::string> default_model(const std::string& home);

}  // namespace pensieve::cli

// What `pensieve doctor` looks at, one function a subject. Each looks and changes nothing; what is
// wrong comes with what to do about it. One thread.
#pragma once

#include <string>
#include <vector>

#include "application/cli/options.h"

namespace pensieve::cli {

enum class Verdict { Ok, Warn, Fail };

struct Finding {
  std::string
      subject;  // "cpu", "memory", "home", "token", "disk", "port", "model", "claude", "hub"
  Verdict verdict = Verdict::Ok;
  std::string text;      // what is
  std::string advice{};  // what to do; empty when it is Ok
};

// The versions of Claude Code that the whole-server tests run, oldest first.
inline constexpr const char* kOldestCheckedClient = "2.1.197";
inline constexpr const char* kNewestCheckedClient = "2.1.329";

Finding check_cpu();
Finding check_memory();
Finding check_home(const std::string& home);
Finding check_token(const std::string& home);
Finding check_secrets_file(const std::string& home);  // service.env
Finding check_disk(const std::string& home);
Finding check_port(const std::string& home, int port);
Finding check_model(const Options& options);  // --model, --deep
Finding check_client();
Finding check_hub();  // the one that uses the network

// The order of two versions of three numbers ("2.1.329"): below 0, 0, above 0; what follows the
// numbers does not count.
int compare_versions(const std::string& a, const std::string& b);

}  // namespace pensieve::cli

// `pensieve doctor`: what is right with this machine and this installation, what is not, and what
// to do.
#include <cstdio>
#include <string>
#include <vector>

#include "foundation/json.h"
#include "foundation/text.h"

#include "application/cli/commands.h"
#include "application/cli/doctor_checks.h"
#include "application/cli/exit_status.h"
#include "application/cli/home.h"
#include "application/cli/print_json.h"

namespace pensieve::cli {
namespace {

const char* word_for(Verdict verdict) {
  switch (verdict) {
    case Verdict::Ok:
      return "ok";
    case Verdict::Warn:
      return "warn";
    case Verdict::Fail:
      break;
  }
  return "fail";
}

void print_finding(const Finding& finding) {
  std::printf("%-4s  %-7s %s\n",
              word_for(finding.verdict),
              finding.subject.c_str(),
              printable(finding.text, 1000).c_str());
  if (!finding.advice.empty())
    std::printf("%-14s-> %s\n", "", printable(finding.advice, 1000).c_str());
  std::fflush(stdout);  // some checks take a while
}

Result<int> examine_all(const Options& options) {
  PENSIEVE_TRY(const std::string home, home_directory());
  bool failed = false;
  Json list = Json::array();
  const auto report = [&](const Finding& finding) {
    failed = failed || finding.verdict == Verdict::Fail;
    if (!options.json) return print_finding(finding);
    Json one{
        {"check", finding.subject}, {"verdict", word_for(finding.verdict)}, {"text", finding.text}};
    if (!finding.advice.empty()) one["advice"] = finding.advice;
    list.push_back(std::move(one));
  };
  report(check_cpu());
  report(check_memory());
  report(check_home(home));
  report(check_token(home));
  report(check_secrets_file(home));
  report(check_disk(home));
  report(check_port(home, options.port));
  report(check_model(options));
  report(check_client());
  if (options.ask_network) report(check_hub());
  if (options.json) print_json(Json{{"healthy", !failed}, {"checks", std::move(list)}});
  return failed ? kExitFailed : kExitDone;
}

}  // namespace

int examine(const Options& options) {
  return finish(examine_all(options));
}

}  // namespace pensieve::cli

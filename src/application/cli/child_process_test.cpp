// Programs as children: status, signals, what they inherit. Each signal case runs in a process of
// its own.
#include "application/cli/child_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

namespace pensieve::cli {
namespace {

class ChildProcessTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "pensieve-child-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    log_ = directory_ + "/log";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  static Program shell(const std::string& script, std::vector<std::string> environment = {}) {
    return {.path = "/bin/sh",
            .arguments = {"sh", "-c", script},
            .environment = std::move(environment)};
  }
  static Result<int> run(const std::string& script) { return run_in_foreground(shell(script)); }
  std::string log() const {
    std::ostringstream text;
    text << std::ifstream(log_).rdbuf();
    return text.str();
  }
  static int status_at_end(int pid) {
    while (true) {
      if (const auto status = ended(pid)) return *status;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  // An executable file, or one that is not.
  void put(const std::string& path, mode_t mode) const {
    std::filesystem::create_directories(
        std::filesystem::path(directory_ + "/" + path).parent_path());
    std::ofstream(directory_ + "/" + path) << "#!/bin/sh\n";
    chmod((directory_ + "/" + path).c_str(), mode);
  }

  std::string directory_;
  std::string log_;
};

TEST_F(ChildProcessTest, FindsTheFirstExecutableFile) {
  put("a/claude", 0644);
  std::filesystem::create_directories(directory_ + "/b/claude");
  put("c/claude", 0755);
  put("d/claude", 0755);
  const auto in = [&](const char* name) { return directory_ + "/" + name; };
  EXPECT_EQ(
      find_program("claude",
                   in("none") + ":" + in("a") + ":" + in("b") + ":" + in("c") + ":" + in("d")),
      in("c") + "/claude");
  EXPECT_EQ(find_program("claude", in("a") + ":" + in("b")), std::nullopt);
  EXPECT_EQ(find_program("no-such-program-here", ""), std::nullopt);
}

TEST_F(ChildProcessTest, PassesTheStatusOn) {
  EXPECT_EQ(run("exit 0").value(), 0);
  EXPECT_EQ(run("exit 37").value(), 37);
  EXPECT_EQ(run("kill -TERM $$").value(), 143);
  EXPECT_EQ(run("kill -KILL $$").value(), 137);
}

TEST_F(ChildProcessTest, GivesExactlyTheEnvironmentAndTheArguments) {
  Program program = shell("env > \"$1\"; printf '%s|' \"$@\" >> \"$1\"", {"ONE=1 2", "TWO="});
  program.arguments.insert(program.arguments.end(), {"name", log_, "a b", "", "$HOME;*"});
  EXPECT_EQ(run_in_foreground(program).value(), 0);
  EXPECT_NE(log().find("ONE=1 2\n"), std::string::npos) << log();
  EXPECT_NE(log().find("TWO=\n"), std::string::npos) << log();
  EXPECT_EQ(log().find("HOME="), std::string::npos) << log();
  EXPECT_TRUE(log().ends_with(log_ + "|a b||$HOME;*|")) << log();
}

TEST_F(ChildProcessTest, SaysWhatCannotBeStarted) {
  const auto refused = run_in_foreground({.path = directory_ + "/none", .arguments = {"none"}});
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find(directory_ + "/none"), std::string::npos);
}

TEST_F(ChildProcessTest, TheHeartBeatsAsLongAsTheProgramRuns) {
  int beats = 0;
  // The program ends when it has seen three beats, not after a time.
  const auto status =
      run_in_foreground(shell("while [ ! -s \"$LOG\" ]; do sleep 0.01; done; exit 4",
                              {"PATH=/bin:/usr/bin", "LOG=" + log_}),
                        {.interval = std::chrono::milliseconds(5), .beat = [&] {
                           if (++beats == 3) std::ofstream(log_) << "enough";
                         }});
  EXPECT_EQ(status.value(), 4);
  EXPECT_GE(beats, 3);
}

TEST_F(ChildProcessTest, SignalsOfTheTerminalAreTheProgramsAffair) {
  EXPECT_EXIT(
      {
        // What we ignore (SIGPIPE) is not ignored there, and an interrupt to both ends it alone.
        signal(SIGPIPE, SIG_IGN);
        const auto pipe = run("kill -PIPE $$; exit 1");
        const auto interrupt = run("kill -INT $PPID; kill -QUIT $PPID; kill -INT $$; exit 1");
        exit(pipe.value() == 128 + SIGPIPE && interrupt.value() == 128 + SIGINT ? 0 : 1);
      },
      testing::ExitedWithCode(0),
      "");
}

TEST_F(ChildProcessTest, ARequestToEndIsPassedOn) {
  EXPECT_EXIT(
      {
        const auto term = run("trap 'exit 9' TERM; kill -TERM $PPID; while :; do sleep 0.01; done");
        const auto hup = run("trap 'exit 8' HUP; kill -HUP $PPID; while :; do sleep 0.01; done");
        exit(term.value() == 9 && hup.value() == 8 ? 0 : 1);
      },
      testing::ExitedWithCode(0),
      "");
}

TEST_F(ChildProcessTest, ABackgroundProgramHasNothingOfOurs) {
  const int open_file = open("/dev/null", O_RDONLY);  // without O_CLOEXEC
  ASSERT_GE(open_file, 3);
  const auto pid =
      start_in_background(shell("read line; echo \"in:$line\"; echo err >&2; echo self:$$;"
                                "[ -e /proc/$$/fd/" +
                                    std::to_string(open_file) + " ] && echo leaked; exit 5",
                                {"PATH=/bin:/usr/bin"}),
                          log_);
  close(open_file);
  ASSERT_TRUE(pid.has_value()) << pid.error().message;
  EXPECT_EQ(status_at_end(*pid), 5);
  EXPECT_TRUE(log().starts_with("in:\nerr\n")) << log();
  EXPECT_EQ(log().find("leaked"), std::string::npos) << log();
  EXPECT_NE(log().find("self:" + std::to_string(*pid)), std::string::npos) << log();
  struct stat status {};
  ASSERT_EQ(stat(log_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(ChildProcessTest, ABackgroundProgramLeadsASessionOfItsOwn) {
  const auto pid = start_in_background(shell("sleep 60", {"PATH=/bin:/usr/bin"}), log_);
  ASSERT_TRUE(pid.has_value()) << pid.error().message;
  EXPECT_EQ(getsid(*pid), *pid);
  EXPECT_NE(getsid(0), *pid);
  EXPECT_EQ(ended(*pid), std::nullopt);
  kill(-*pid, SIGTERM);
  EXPECT_EQ(status_at_end(*pid), 143);
}

TEST_F(ChildProcessTest, KnowsItsOwnProgram) {
  const auto own = own_program();
  ASSERT_TRUE(own.has_value());
  EXPECT_NE(own->find("cli_test"), std::string::npos) << *own;
}

TEST_F(ChildProcessTest, CapturesWhatAProgramSays) {
  const auto both = capture(shell("echo out; echo err >&2; exit 3"), std::chrono::seconds(30));
  ASSERT_TRUE(both.has_value()) << both.error().message;
  EXPECT_EQ(both->status, 3);
  EXPECT_EQ(both->output, "out\nerr\n");
  const auto signal = capture(shell("kill -TERM $$"), std::chrono::seconds(30));
  ASSERT_TRUE(signal.has_value());
  EXPECT_EQ(signal->status, 128 + 15);
  const auto silent = capture(shell("read line || exit 7"), std::chrono::seconds(30));
  ASSERT_TRUE(silent.has_value());
  EXPECT_EQ(silent->status, 7);  // there is no input
  // More than a pipe holds, and more than is kept.
  const auto much = capture(shell("head -c 300000 /dev/zero"), std::chrono::seconds(30));
  ASSERT_TRUE(much.has_value());
  EXPECT_EQ(much->status, 0);
  EXPECT_GE(much->output.size(), 64u * 1024);
  EXPECT_LT(much->output.size(), 80u * 1024);
}

TEST_F(ChildProcessTest, CapturesNobodyWhoTakesTooLong) {
  const auto late = capture(shell("exec sleep 600"), std::chrono::milliseconds(50));
  ASSERT_FALSE(late.has_value());
  EXPECT_EQ(late.error().kind, ErrorKind::Unavailable);
  const auto absent =
      capture({.path = directory_ + "/absent", .arguments = {"absent"}}, std::chrono::seconds(30));
  ASSERT_FALSE(absent.has_value());
  EXPECT_EQ(absent.error().kind, ErrorKind::Internal);
}

}  // namespace
}  // namespace pensieve::cli

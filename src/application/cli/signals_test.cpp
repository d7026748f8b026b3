// Signals end the process in order, or at once. Each case runs in a process of its own.
#include "application/cli/signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

namespace pensieve::cli {
namespace {

using testing::ExitedWithCode;

class SignalsDeathTest : public testing::Test {
 protected:
  SignalsDeathTest() { testing::FLAGS_gtest_death_test_style = "threadsafe"; }
};

TEST_F(SignalsDeathTest, BeforeOrderTheFirstEndsTheProcessAtOnce) {
  EXPECT_EXIT(
      {
        install_signal_handlers();
        raise(SIGTERM);
        exit(0);
      },
      ExitedWithCode(143),
      "");
}

TEST_F(SignalsDeathTest, TheFirstIsKeptUntilSomebodyAsks) {
  EXPECT_EXIT(
      {
        install_signal_handlers();
        orderly_signals();
        const bool none = wait_for_signal(0) == 0;
        raise(SIGTERM);
        // Asked twice, told twice.
        exit(none && wait_for_signal(-1) == SIGTERM && wait_for_signal(0) == SIGTERM ? 0 : 1);
      },
      ExitedWithCode(0),
      "");
}

TEST_F(SignalsDeathTest, TheSecondEndsTheProcessAtOnce) {
  EXPECT_EXIT(
      {
        install_signal_handlers();
        orderly_signals();
        raise(SIGTERM);
        raise(SIGINT);
        exit(0);
      },
      ExitedWithCode(130),
      "");
}

TEST_F(SignalsDeathTest, AWriteToAClosedPipeIsAnErrorNotTheEnd) {
  EXPECT_EXIT(
      {
        install_signal_handlers();
        raise(SIGPIPE);
        exit(0);
      },
      ExitedWithCode(0),
      "");
}

}  // namespace
}  // namespace pensieve::cli

// Log files: modes, rotation, and what is left when the system refuses.
#include "foundation/log_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace pensieve {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

class LogFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "pensieve-log-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::string path(const std::string& name = "log") const { return (directory_ / name).string(); }
  LogFile open(std::uint64_t max_bytes = 1 << 20, int max_files = 3) {
    auto file = LogFile::open({.path = path(), .max_bytes = max_bytes, .max_files = max_files});
    EXPECT_TRUE(file.has_value()) << file.error().message;
    return *std::move(file);
  }
  mode_t mode(const std::string& name) const {
    struct stat status {};
    EXPECT_EQ(stat(path(name).c_str(), &status), 0) << name;
    return status.st_mode & 0777;
  }

  fs::path directory_;
};

TEST_F(LogFileTest, AppendsAndIsTheUsersAlone) {
  const mode_t before = umask(0);
  open().append("one\n");
  umask(before);
  EXPECT_EQ(mode("log"), 0600u);
  fs::permissions(path(), fs::perms::all);
  open().append("two\n");
  EXPECT_EQ(mode("log"), 0600u) << "a file that was readable by others";
  EXPECT_EQ(read(path()), "one\ntwo\n");
}

// Against the obvious model: a list of files, the youngest first.
TEST_F(LogFileTest, KeepsTheYoungestLinesInAsManyFilesAsItMay) {
  constexpr std::uint64_t kMaxBytes = 40;
  for (const int max_files : {1, 2, 4}) {
    fs::remove_all(directory_);
    fs::create_directory(directory_);
    LogFile file = open(kMaxBytes, max_files);
    std::vector<std::string> model{""};
    for (int i = 0; i < 60; ++i) {
      const std::string line = std::string(static_cast<std::size_t>(i * 7 % 45), 'x') + "\n";
      ASSERT_TRUE(file.append(line));
      if (!model.front().empty() && model.front().size() + line.size() > kMaxBytes) {
        model.insert(model.begin(), "");
        if (model.size() > static_cast<std::size_t>(max_files)) model.pop_back();
      }
      model.front() += line;
      ASSERT_EQ(read(path()), model[0]) << max_files << " files, line " << i;
      for (std::size_t k = 1; k < model.size(); ++k) {
        ASSERT_EQ(read(path("log." + std::to_string(k))), model[k]) << "line " << i;
        ASSERT_EQ(mode("log." + std::to_string(k)), 0600u);
      }
      ASSERT_EQ(std::distance(fs::directory_iterator(directory_), {}),
                static_cast<std::ptrdiff_t>(model.size()));
    }
  }
}

TEST_F(LogFileTest, RefusesWhatIsNoFileOfItsOwn) {
  const auto refused = [](const std::string& path, const std::string& why) {
    const auto file = LogFile::open({.path = path});
    ASSERT_FALSE(file.has_value()) << path;
    EXPECT_EQ(file.error().kind, ErrorKind::InvalidRequest);
    EXPECT_NE(file.error().message.find(path), std::string::npos);
    EXPECT_NE(file.error().message.find(why), std::string::npos) << file.error().message;
  };
  std::ofstream(path("target")) << "precious\n";
  fs::create_symlink(path("target"), path("link"));
  refused(path("link"), "it is a link");
  EXPECT_EQ(read(path("target")), "precious\n");
  refused(directory_.string(), "Is a directory");
  refused(path("none/log"), "No such file or directory");
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  refused(path("pipe"), "cannot be used");
}

// The limit on a file's size stands for a full disk: the system takes a part of the line.
TEST_F(LogFileTest, LeavesNoHalfLineOnAFullDisk) {
  LogFile file = open();
  ASSERT_TRUE(file.append("first\n"));
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{.rlim_cur = 10, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const bool written = file.append("second line\n");
  const std::string text = read(path());
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_FALSE(written);
  EXPECT_EQ(text, "first\n");
  EXPECT_TRUE(file.append("third\n"));
  EXPECT_EQ(read(path()), "first\nthird\n");
}

TEST_F(LogFileTest, GoesOnWhenItsDirectoryIsThereAgain) {
  LogFile file = open(10);
  ASSERT_TRUE(file.append("0123456\n"));
  fs::remove_all(directory_);
  EXPECT_FALSE(file.append("89abcdef\n")) << "it was to go to a new file";
  fs::create_directory(directory_);
  EXPECT_TRUE(file.append("here\n"));
  EXPECT_EQ(read(path()), "here\n");
}

TEST_F(LogFileTest, LeavesAFileThatAnotherProgramHasPutThere) {
  LogFile file = open(10);
  ASSERT_TRUE(file.append("0123456\n"));
  fs::rename(path(), path("moved"));
  std::ofstream(path()) << "new\n";
  ASSERT_TRUE(file.append("next\n"));
  EXPECT_EQ(read(path("moved")), "0123456\n");
  EXPECT_EQ(read(path()), "new\nnext\n");
  EXPECT_FALSE(fs::exists(path("log.1")));
}

}  // namespace
}  // namespace pensieve

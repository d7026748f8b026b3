// Which servers of this home directory run: each keeps one small file there, servers/PID.json, and
// holds a lock on it as long as it lives. The lock, not the number in the file, says that a server
// lives: the system lets go of it however the process ends, and no other process can inherit it
// with the number. Knows files and locks. Must not know HTTP.
#pragma once

#include <string>
#include <vector>

#include "foundation/directory.h"
#include "foundation/result.h"

namespace pensieve::cli {

struct ServerRecord {
  int pid = 0;
  std::string host{};         // of the port: "127.0.0.1"
  int port = 0;               // 0: no TCP
  std::string unix_socket{};  // an absolute path; empty: none
};

// Of the server in this process: the file is there, locked, mode 0600, until this object goes.
class KeptRecord {
 public:
  // Errors: Internal, naming the path; of Directory::open().
  static Result<KeptRecord> write(const std::string& home, const ServerRecord& record);

  KeptRecord(KeptRecord&& other) noexcept = default;
  KeptRecord& operator=(KeptRecord&&) = delete;
  KeptRecord(const KeptRecord&) = delete;
  KeptRecord& operator=(const KeptRecord&) = delete;
  ~KeptRecord();

 private:
  KeptRecord(std::string path, Handle file) : path_(std::move(path)), file_(std::move(file)) {}
  std::string path_;
  Handle file_;
};

// The servers that live, by process id. Files of servers that are gone are removed on the way. A
// file that is no such record counts as none and stays.
std::vector<ServerRecord> running_servers(const std::string& home);

// What became of one of them: it lives, it has removed its file as it does at an orderly end, or
// its file stayed although it is gone. (Who looks with running_servers() in between removes the
// file of the last kind.)
enum class ServerFate { Lives, EndedInOrder, Gone };
ServerFate fate_of(const std::string& home, int pid);

}  // namespace pensieve::cli

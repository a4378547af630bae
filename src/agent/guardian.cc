#include "agent/guardian.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/adopt.h"
#include "agent/runtime_dir.h"

namespace mete::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Messages: one letter, and a text.
constexpr char kReady = 'r';
constexpr char kMaking = 'm';
constexpr char kMade = 'M';
constexpr char kRecord = 'R';
constexpr char kPath = 'p';
constexpr char kGoodbye = 'g';

// What the caller left open for its programs is not close-on-exec; mete's own files are. So that a
// pipe of the caller ends when the agent ends, not when the guardian does.
void CloseInherited() {
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) return;
  while (const dirent* entry = readdir(folder)) {
    const int fd = std::atoi(entry->d_name);
    if (fd <= STDERR_FILENO || fd == dirfd(folder)) continue;
    const int flags = fcntl(fd, F_GETFD);
    if (flags >= 0 && (flags & FD_CLOEXEC) == 0) close(fd);
  }
  closedir(folder);
}

void LeaveTerminal() {
  setsid();
  prctl(PR_SET_NAME, "mete-guardian");
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return;
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null, fd);
  if (null > STDERR_FILENO) close(null);
}

struct Duties {
  ProcessId owner;
  Duration wait{};
  std::string name;    // of the group; empty: none was begun
  std::string record;  // its path; empty: none
  bool made = false;
  std::vector<std::string> paths;
};

// Nothing after a goodbye; else what was left when the other end closed.
std::optional<Duties> WaitForEnd(int line, Duties duties) {
  std::array<char, 4096> message;
  for (;;) {
    const ssize_t got = recv(line, message.data(), message.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return duties;
    const std::string text(message.data() + 1, static_cast<std::size_t>(got - 1));
    switch (message[0]) {
      case kMaking:
        duties.name = text;
        duties.made = false;
        duties.record.clear();
        break;
      case kRecord: duties.record = text; break;
      case kMade: duties.made = true; break;
      case kPath: duties.paths.push_back(text); break;
      case kGoodbye: return std::nullopt;
      default: break;
    }
  }
}

void Sleep(Duration span) {
  if (span <= Duration::zero()) return;
  const std::int64_t count = span.count();
  timespec left{count / 1'000'000'000, count % 1'000'000'000};
  while (nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}

// Each round is bounded; a process stuck in the kernel is tried again until it is gone, because
// nobody else is left to do it.
class Pause {
 public:
  void Take() {
    Sleep(next_);
    next_ = std::min<milliseconds>(next_ * 2, seconds(10));
  }

 private:
  milliseconds next_{1};
};

// Without a record: there is only the name to go by.
void EndByName(Host& host, const Duties& duties) {
  for (const std::string& path : duties.paths) unlink(path.c_str());
  if (duties.name.empty()) return;
  for (Pause pause;; pause.Take()) {
    auto group = host.Find(duties.name);
    if (!group) return;
    if (duties.made && !(*group)->Kill(seconds(2))) continue;
    if ((*group)->Remove() || !duties.made) return;
  }
}

enum class Progress { kDone, kAgain, kNoRecord };

// One try. `until` is set while there is a lease to wait for.
Progress TryToSettle(Host& host, const Duties& duties, std::optional<Time>* until) {
  const Clock& clock = SystemClock::Instance();
  Result<FoundAgent> found = FindAgent(host, duties.record, clock);
  if (!found) {
    // Removed: the owner was about to say goodbye, or somebody else settled it.
    if (found.error().code == ErrorCode::kNotFound) return Progress::kDone;
    if (found.error().code != ErrorCode::kInUse) return Progress::kNoRecord;
    const Result<AgentRecord> record = ReadRecord(duties.record);
    return record && record->owner != duties.owner ? Progress::kDone : Progress::kAgain;
  }
  if (!found->record) {
    found->file->Remove();  // the owner had no time to write it
    return Progress::kNoRecord;
  }
  if (found->record->owner != duties.owner) return Progress::kDone;
  const Time now = clock.Now();
  const Decision decision = Decide(*found, now);
  if (decision == Decision::kKeep && found->record->lease_end.value_or(now) > now) {
    *until = found->record->lease_end;
  }
  return Settle(host, *found, decision) && !*until ? Progress::kDone : Progress::kAgain;
}

void SettleAgent(Host& host, const Duties& duties) {
  Sleep(duties.wait);
  if (duties.record.empty()) return EndByName(host, duties);
  for (Pause pause;;) {
    std::optional<Time> until;
    switch (TryToSettle(host, duties, &until)) {
      case Progress::kDone:
        // In whichever folder; a successor listens on his.
        std::ranges::for_each(duties.paths, RemoveDeadSocket);
        return;
      case Progress::kNoRecord: return EndByName(host, duties);
      case Progress::kAgain: break;
    }
    // A lease may be long, and a successor makes another one.
    if (until)
      Sleep(std::min<Duration>(*until - SystemClock::Instance().Now(), seconds(1)));
    else
      pause.Take();
  }
}

}  // namespace

Result<Guardian> Guardian::Start(Host& host, Duration wait) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return Fail(ErrorCode::kSystem, std::string("guardian: socketpair: ") + std::strerror(errno));
  }
  UniqueFd mine(ends[0]);
  UniqueFd guardians(ends[1]);
  Duties duties;
  duties.owner = IdentifyProcess(getpid());
  duties.wait = wait;
  sigset_t all, old;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &old);
  const pid_t pid = fork();
  if (pid == 0) {
    mine.reset();
    LeaveTerminal();
    CloseInherited();
    send(guardians.get(), &kReady, 1, MSG_NOSIGNAL);
    if (auto left = WaitForEnd(guardians.get(), std::move(duties))) SettleAgent(host, *left);
    _exit(0);
  }
  const int fork_errno = errno;
  sigprocmask(SIG_SETMASK, &old, nullptr);
  if (pid < 0) {
    return Fail(ErrorCode::kSystem, std::string("guardian: fork: ") + std::strerror(fork_errno));
  }
  return Guardian(pid, std::move(mine));
}

Guardian::Guardian(Guardian&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), line_(std::move(other.line_)), ready_(other.ready_) {}

// Fails only if the guardian is gone; then there is nobody to tell.
void Guardian::Tell(char kind, std::string_view text) {
  std::string message(1, kind);
  message += text;
  send(line_.get(), message.data(), message.size(), MSG_NOSIGNAL);
}

void Guardian::Making(std::string_view name, std::string_view record_path) {
  if (!ready_) {
    char byte;
    while (recv(line_.get(), &byte, 1, 0) < 0 && errno == EINTR) {
    }
    ready_ = true;
  }
  Tell(kMaking, name);
  if (!record_path.empty()) Tell(kRecord, record_path);
}

void Guardian::Made() { Tell(kMade); }

void Guardian::Remember(std::string_view path) { Tell(kPath, path); }

void Guardian::Dismiss() {
  if (pid_ < 0) return;
  Tell(kGoodbye);
  line_.reset();
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

void Guardian::TakeOver() {
  line_.reset();
  pid_ = -1;
}

}  // namespace mete::agent

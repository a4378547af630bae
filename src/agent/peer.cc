#include "agent/peer.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// Younger than the oldest libraries that mete builds with: Linux 6.5.
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

namespace mete::agent {

Peer IdentifyPeer(int socket) {
  Peer peer;
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return peer;
  peer.pid = credentials.pid;
  peer.uid = credentials.uid;
  if (peer.pid <= 0) return peer;

  int pidfd = -1;
  size = sizeof pidfd;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0) {
    peer.pidfd.reset(pidfd);
    return peer;
  }
  // Older kernels: the caller could have died, and its number gone round all others and back to a
  // process outside, between its connect and this line. Nobody has shown that; it would take a
  // whole turn of the pid counter while the runner does not get to its socket.
  peer.pidfd.reset(static_cast<int>(syscall(SYS_pidfd_open, peer.pid, 0)));
  return peer;
}

Peer IdentifySelf() {
  Peer self;
  self.pid = getpid();
  self.uid = geteuid();
  self.pidfd.reset(static_cast<int>(syscall(SYS_pidfd_open, self.pid, 0)));
  return self;
}

bool IsAlive(const UniqueFd& pidfd) {
  if (!pidfd) return false;
  pollfd poll_fd{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
  return poll(&poll_fd, 1, 0) == 0;  // a pidfd is readable once its process has ended
}

}  // namespace mete::agent

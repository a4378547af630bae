#include "agent/peer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

namespace mete::agent {
namespace {

TEST(Peer, IsTheProcessThatConnected) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  UniqueFd first(ends[0]), second(ends[1]);
  const Peer peer = IdentifyPeer(first.get());
  EXPECT_EQ(peer.pid, getpid());
  EXPECT_EQ(peer.uid, geteuid());
  ASSERT_TRUE(peer.pidfd);
  EXPECT_TRUE(IsAlive(peer.pidfd));
  EXPECT_NE(fcntl(peer.pidfd.get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(Peer, OfAnythingElseIsNobody) {
  const UniqueFd file(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const Peer peer = IdentifyPeer(file.get());
  EXPECT_EQ(peer.pid, 0);
  EXPECT_FALSE(peer.pidfd);
  EXPECT_FALSE(IsAlive(peer.pidfd));
}

// The pair is made by a child that ends; its end here outlives it.
TEST(Peer, ThatEndedIsNotAlive) {
  int channel[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel), 0);
  UniqueFd mine(channel[0]), childs(channel[1]);
  const pid_t child = fork();
  if (child == 0) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) _exit(1);
    // Sends one end over, waits for the word, ends.
    char byte = 'x';
    iovec data{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::copy_n(reinterpret_cast<const unsigned char*>(ends), sizeof(int), CMSG_DATA(header));
    if (sendmsg(childs.get(), &message, 0) != 1) _exit(1);
    [[maybe_unused]] ssize_t got = read(childs.get(), &byte, 1);
    _exit(0);
  }
  char byte;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ASSERT_EQ(recvmsg(mine.get(), &message, 0), 1);
  int number = -1;
  std::copy_n(CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof number,
              reinterpret_cast<unsigned char*>(&number));
  const UniqueFd end(number);
  const Peer peer = IdentifyPeer(end.get());
  EXPECT_EQ(peer.pid, child);
  EXPECT_TRUE(IsAlive(peer.pidfd));
  ASSERT_EQ(write(mine.get(), "x", 1), 1);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_FALSE(IsAlive(peer.pidfd));
  // Asked only now: nobody is found in its place.
  EXPECT_FALSE(IsAlive(IdentifyPeer(end.get()).pidfd));
}

}  // namespace
}  // namespace mete::agent

#include "agent/socket_server.h"

#include <sys/stat.h>

#include <fstream>
#include <list>

#include "agent/test_client.h"

namespace mete::agent {
namespace {

using std::chrono::seconds;

class SocketServerTest : public testing::Test {
 protected:
  SocketServerTest()
      : path(testing::TempDir() + "mete-server-" + std::to_string(getpid())),
        loop(*Loop::Create()) {}

  void Start(SocketServer::Options options = {}) {
    options.path = path;
    auto started = SocketServer::Listen(
        *loop, clock, options, [this](const wire::HttpRequest& request, const Peer& peer) {
          ++requests;
          last_peer = peer.pid;
          return wire::HttpResponse{200, {}, request.target + request.body};
        });
    ASSERT_TRUE(started) << started.error().message;
    server = *std::move(started);
  }

  // Lets the loop work until it has nothing more to do.
  void Settle() {
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(loop->RunOnce(Time()));
  }

  std::string path;
  VirtualClock clock{Time(seconds(1000))};
  std::unique_ptr<Loop> loop;
  std::unique_ptr<SocketServer> server;
  int requests = 0;
  pid_t last_peer = 0;
};

TEST_F(SocketServerTest, AnswersOneRequestAfterTheOther) {
  Start();
  TestClient client(*loop, path);
  ASSERT_TRUE(client.connected());
  EXPECT_EQ(client.Call("GET", "/a").value().body, "/a");
  EXPECT_EQ(client.Call("POST", "/b", "body").value().body, "/bbody");
  EXPECT_EQ(last_peer, getpid());
  EXPECT_EQ(server->connections(), 1u);
}

TEST_F(SocketServerTest, AnswersRequestsThatCameTogether) {
  Start();
  TestClient client(*loop, path);
  const std::string one = "GET /1 HTTP/1.1\r\nhost: x\r\n\r\n";
  ASSERT_TRUE(client.Send(one + "GET /2 HTTP/1.1\r\nhost: x\r\n\r\nGET /3 HT"));
  EXPECT_EQ(client.Receive().value().body, "/1");
  EXPECT_EQ(client.Receive().value().body, "/2");
  ASSERT_TRUE(client.Send("TP/1.1\r\nhost: x\r\n\r\n"));
  EXPECT_EQ(client.Receive().value().body, "/3");
}

TEST_F(SocketServerTest, ClosesWhenAskedTo) {
  Start();
  TestClient client(*loop, path);
  EXPECT_EQ(client.Call("GET", "/a", {}, {{"connection", "close"}}).value().status, 200);
  EXPECT_FALSE(client.Receive());
  EXPECT_TRUE(client.closed());
  EXPECT_EQ(server->connections(), 0u);
}

TEST_F(SocketServerTest, TheFileIsTheUsersAloneAndGoesWithTheServer) {
  std::ofstream(path) << "left over";
  Start();
  struct stat status{};
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_TRUE(S_ISSOCK(status.st_mode));
  EXPECT_EQ(status.st_mode & 0777u, 0600u);
  server.reset();
  EXPECT_NE(stat(path.c_str(), &status), 0);
}

TEST_F(SocketServerTest, RefusesAPathThatDoesNotFit) {
  path += std::string(108, 'x');
  auto started = SocketServer::Listen(*loop, clock, {.path = path}, {});
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, ErrorCode::kSystem);
}

TEST_F(SocketServerTest, AnswersGarbageWithAProblemAndCloses) {
  Start();
  for (const char* bytes :
       {"\r\n\r\n\r\n\x01\x02", "GET\r\n\r\n", "nonsense nonsense nonsense\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n"}) {
    TestClient client(*loop, path);
    ASSERT_TRUE(client.Send(bytes));
    const auto response = client.Receive();
    ASSERT_TRUE(response) << bytes;
    EXPECT_GE(response->status, 400) << bytes;
    EXPECT_LT(response->status, 500) << bytes;
    EXPECT_EQ(wire::FindHeader(response->headers, "content-type"), "application/problem+json");
    EXPECT_FALSE(client.Receive());
    EXPECT_TRUE(client.closed()) << bytes;
  }
  EXPECT_EQ(requests, 0);
  EXPECT_EQ(server->connections(), 0u);
}

TEST_F(SocketServerTest, RefusesARequestThatIsTooLarge) {
  Start();
  TestClient client(*loop, path);
  const std::string body(SocketServer::kMostRequestBytes + 20'000, 'x');
  client.Send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 500000\r\n\r\n");
  client.Send(body);
  EXPECT_EQ(client.Receive().value().status, 413);
  EXPECT_EQ(requests, 0);
}

TEST_F(SocketServerTest, TakesARequestOfTheAllowedSize) {
  Start();
  TestClient client(*loop, path);
  const std::string body(SocketServer::kMostRequestBytes - 1000, 'x');
  EXPECT_EQ(client.Call("POST", "/", body).value().body.size(), body.size() + 1);
}

TEST_F(SocketServerTest, ACallerThatDoesNotReadIsNotReadFrom) {
  Start();
  TestClient client(*loop, path);
  const std::string request =
      wire::Serialize(wire::HttpRequest{"POST", "/", {{"host", "x"}}, std::string(30'000, 'x')});
  int sent = 0;
  while (sent < 1000 && client.Send(request)) {
    ++sent;
    Settle();
  }
  ASSERT_LT(sent, 1000) << "the server must stop reading";
  EXPECT_LT(requests, sent);
  const int answered = requests;
  Settle();
  EXPECT_EQ(requests, answered);
  EXPECT_EQ(client.Receive().value().status, 200) << "and goes on once answers are taken";
}

TEST_F(SocketServerTest, ClosesWhatIsIdleTooLong) {
  Start({.idle = seconds(30)});
  TestClient idle(*loop, path);
  EXPECT_TRUE(idle.Call("GET", "/"));
  TestClient silent(*loop, path);
  Settle();
  EXPECT_EQ(server->connections(), 2u);
  EXPECT_EQ(server->NextDeadline(), clock.Now() + seconds(30));
  clock.Advance(seconds(30) - Duration(1));
  server->Tend();
  EXPECT_EQ(server->connections(), 2u);
  clock.Advance(Duration(1));
  server->Tend();
  EXPECT_EQ(server->connections(), 0u);
  EXPECT_FALSE(server->NextDeadline());
}

TEST_F(SocketServerTest, AFullServerMakesRoomForTheNextByTheLongestIdle) {
  Start({.most_connections = 3});
  std::list<TestClient> clients;
  for (int i = 0; i < 3; ++i) clients.emplace_back(*loop, path);
  Settle();
  EXPECT_TRUE(clients.front().Call("GET", "/")) << "active";
  TestClient next(*loop, path);
  ASSERT_TRUE(next.connected());
  ASSERT_TRUE(next.Send("GET /next HTTP/1.1\r\nhost: x\r\n\r\n"));
  Settle();
  EXPECT_EQ(requests, 1) << "it waits";
  EXPECT_EQ(server->connections(), 3u);
  clock.Advance(seconds(1));
  server->Tend();
  Settle();
  EXPECT_EQ(requests, 2) << "one second later it is in";
  EXPECT_EQ(server->connections(), 3u);
  EXPECT_TRUE(clients.front().Call("GET", "/")) << "not the one that was active last";
}

TEST_F(SocketServerTest, AFullServerTakesTheNextAsSoonAsOneLeaves) {
  Start({.most_connections = 2});
  std::list<TestClient> clients;
  for (int i = 0; i < 2; ++i) clients.emplace_back(*loop, path);
  Settle();
  TestClient next(*loop, path);
  Settle();
  clients.pop_front();
  EXPECT_EQ(next.Call("GET", "/next").value().body, "/next");
}

TEST_F(SocketServerTest, SurvivesAThousandConnections) {
  Start();
  std::list<TestClient> clients;
  int connected = 0;
  for (int i = 0; i < 900; ++i) {
    clients.emplace_back(*loop, path);
    connected += clients.back().connected();
    if (i % 50 == 0) Settle();
  }
  Settle();
  EXPECT_LE(server->connections(), 256u);
  EXPECT_GT(connected, 256);
  clients.clear();
  Settle();
  TestClient after(*loop, path);
  EXPECT_EQ(after.Call("GET", "/after").value().body, "/after");
}

}  // namespace
}  // namespace mete::agent

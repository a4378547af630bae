// The core against a slow model that is written from the headers alone: random trees, random
// operations, and after each one the same answer, the same sums, peaks and edges on every node.
//
// METE_TEST_SEED=n plays another game; the seed of a failing round is printed.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "mete/budget.h"
#include "mete/credit.h"

namespace mete {
namespace {

__extension__ using Wide = __int128;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kRounds = 300;
#else
constexpr int kRounds = 6000;
#endif
constexpr int kOperations = 500;  // of a round: more than 1,000,000 in all

// ---------------------------------------------------------------- the model

struct ModelNode {
  ModelNode* parent;
  bool flow;
  std::int64_t limit;
  std::vector<int> percents;
  Wide used = 0, held = 0, peak = 0;
  std::vector<bool> above = std::vector<bool>(8);  // by threshold; the last one is the limit
  std::vector<bool> pending = std::vector<bool>(8);

  // One edge: raised at `at`, armed again at `rearm`.
  void Look(std::size_t edge, Wide at, Wide rearm) {
    if (!above[edge] && used >= at) above[edge] = pending[edge] = true;
    if (above[edge] && used <= rearm) above[edge] = false;
  }
  // After the use or the limit has changed.
  void Update() {
    if (!flow && used > peak) peak = used;
    for (std::size_t i = 0; i < percents.size(); ++i) {
      const Wide scaled = Wide{limit} * percents[i];
      const Wide at = (scaled + 99) / 100;
      const Wide below = Wide{limit} * std::max(0, percents[i] - 5) / 100;
      if (limit == kNoLimit || limit == 0) {
        above[i] = false;  // nothing to warn of
      } else {
        Look(i, at, flow ? at - 1 : below);
      }
    }
    if (limit == kNoLimit) {
      above[7] = false;
    } else {
      Look(7, Wide{limit} + 1, flow ? Wide{limit} : Wide{limit} * 95 / 100);
    }
  }
  Wide charged() const { return used + held; }
  bool over() const { return used > limit; }
};

struct ModelAnswer {
  std::optional<Refusal::Reason> refused;
  const ModelNode* by = nullptr;
  bool over = false;
  bool raised = false;  // an edge, by this operation
};

// Adds to `used` and `held` of a node and all above; within the limits, or whatever they say.
ModelAnswer Add(ModelNode* node, Wide used, Wide held, bool within) {
  ModelAnswer answer;
  for (ModelNode* at = node; at != nullptr && used + held > 0; at = at->parent) {
    const Wide sum = at->charged() + used + held;
    const bool overflows = sum > kNoLimit;
    if (overflows || (within && sum > at->limit)) {
      answer.refused =
          at->limit == kNoLimit || !within ? Refusal::Reason::kOverflow : Refusal::Reason::kLimit;
      answer.by = at;
      return answer;
    }
  }
  for (ModelNode* at = node; at != nullptr; at = at->parent) {
    const auto before = at->pending;
    at->used += used;
    at->held += held;
    at->Update();
    answer.raised = answer.raised || at->pending != before;
    answer.over = answer.over || at->over();
  }
  return answer;
}

// Ends a hold on a node and all above, of which `used` was used.
void End(ModelNode& node, Wide held, Wide used, ModelAnswer& answer) {
  for (ModelNode* at = &node; at != nullptr; at = at->parent) {
    const auto before = at->pending;
    at->held -= held;
    at->used += used;
    at->Update();
    answer.raised = answer.raised || at->pending != before;
    answer.over = answer.over || at->over();
  }
}

// ---------------------------------------------------------------- the game

enum class Kind { kLevels, kFlows, kLevelsWithCredit };

class Game {
 public:
  Game(std::uint64_t seed, Kind kind) : random_(seed), kind_(kind) { Grow(); }
  ~Game();

  void Play(int operations) {
    for (int i = 0; i < operations && !testing::Test::HasFailure(); ++i) {
      PlayOne();
      CompareAll();
    }
  }

 private:
  struct Node {
    std::unique_ptr<SharedBudget> inner;
    std::unique_ptr<Budget> leaf;
    std::unique_ptr<ModelNode> model;
    Budget& budget() const { return inner ? *inner : *leaf; }
  };
  struct Held {
    Hold hold;
    std::size_t node;
    std::int64_t amount;
  };

  std::uint64_t Roll(std::uint64_t sides) { return random_() % sides; }
  std::size_t AnyNode() { return Roll(nodes_.size()); }
  void Grow();
  std::int64_t AnyLimit();
  std::int64_t AnyAmount(const ModelNode& model);
  bool WithCredit() const { return kind_ == Kind::kLevelsWithCredit; }

  void PlayOne();
  void TryCharge(std::size_t at);
  void Charge(std::size_t at);
  void Uncharge(std::size_t at);
  void Reserve(std::size_t at);
  void EndHold();
  void SetLimit(std::size_t at);
  void TakeEdges(std::size_t at);
  void RollOrResetPeak(std::size_t at);
  void UseCredit();

  void Compare(const Charged& charged, const ModelAnswer& answer, std::int64_t asked);
  void CompareRefusal(const Refusal& refusal, const ModelAnswer& answer, std::int64_t asked);
  void CompareAll();
  const ModelNode* ModelOf(const Budget* budget) const;

  std::mt19937_64 random_;
  Kind kind_;
  std::vector<Node> nodes_;  // parents before children
  std::vector<Held> holds_;
  std::vector<std::pair<std::unique_ptr<Credit>, std::size_t>> credits_;
};

void Game::Grow() {
  static const std::vector<std::vector<int>> kSets = {{80, 95}, {}, {1, 5, 6, 50, 99, 100}, {33}};
  const std::size_t count = 1 + Roll(8);
  std::vector<int> depth(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t parent = i == 0 ? 0 : Roll(i);
    while (i > 0 && (depth[parent] == 4 || !nodes_[parent].inner)) parent = Roll(i);
    depth[i] = i == 0 ? 1 : depth[parent] + 1;
    SharedBudget* above = i == 0 ? nullptr : nodes_[parent].inner.get();
    const std::vector<int>& set = kSets[Roll(kSets.size())];
    const BudgetKind kind = kind_ == Kind::kFlows ? BudgetKind::kFlow : BudgetKind::kLevel;
    const std::int64_t limit = AnyLimit();
    Node node;
    // The root is always shared, so that others may stand below it.
    if (i == 0 || Roll(2) == 0) {
      node.inner = std::make_unique<SharedBudget>(kind, limit, above, *Thresholds::Of(set));
    } else {
      node.leaf = std::make_unique<Budget>(kind, limit, above, *Thresholds::Of(set));
    }
    node.model = std::make_unique<ModelNode>(
        ModelNode{.parent = i == 0 ? nullptr : nodes_[parent].model.get(),
                  .flow = kind == BudgetKind::kFlow,
                  .limit = limit,
                  .percents = set});
    nodes_.push_back(std::move(node));
  }
}

Game::~Game() {
  holds_.clear();
  credits_.clear();
  // Children first; each gives its level back, so that the root is left with its own use.
  const bool flow = kind_ == Kind::kFlows;
  while (nodes_.size() > 1) {
    const Wide used = nodes_.back().model->used;
    for (ModelNode* at = nodes_.back().model->parent; at != nullptr && !flow; at = at->parent) {
      at->used -= used;
    }
    nodes_.pop_back();
    const Node& root = nodes_.front();
    if (!testing::Test::HasFailure()) {
      EXPECT_EQ(root.budget().charged(), static_cast<std::int64_t>(root.model->used));
    }
  }
}

std::int64_t Game::AnyLimit() {
  constexpr std::array<std::int64_t, 8> kLimits = {0, 1, 2, 100, 1000, kNoLimit - 1, kNoLimit, 7};
  switch (Roll(4)) {
    case 0: return kLimits[Roll(kLimits.size())];
    case 1: return kNoLimit;
    default: return static_cast<std::int64_t>(Roll(2000));
  }
}

// Around what the node has left, or an edge of the range, or just some.
std::int64_t Game::AnyAmount(const ModelNode& model) {
  const Wide left = Wide{model.limit} - model.charged();
  const auto clamp = [](Wide amount) {
    return static_cast<std::int64_t>(std::max<Wide>(0, std::min<Wide>(amount, kNoLimit)));
  };
  switch (Roll(14)) {
    case 0: return 0;
    case 1: return 1;
    case 2: return clamp(left - 1);
    case 3: return clamp(left);
    case 4: return clamp(left + 1);
    case 5: return Roll(8) == 0 ? kNoLimit : 3;
    case 6: return Roll(8) == 0 ? -1 - static_cast<std::int64_t>(Roll(9)) : 2;
    case 7: return Roll(8) == 0 ? -kNoLimit - 1 : 5;
    case 8: return clamp(Wide{model.limit} * 80 / 100 - model.used);
    default: return static_cast<std::int64_t>(Roll(300));
  }
}

void Game::PlayOne() {
  const std::size_t at = AnyNode();
  switch (Roll(WithCredit() ? 16 : 10)) {
    case 0:
    case 1: TryCharge(at); break;
    case 2: Charge(at); break;
    case 3: Uncharge(at); break;
    case 4: Reserve(at); break;
    case 5: EndHold(); break;
    case 6: SetLimit(at); break;
    case 7: TakeEdges(at); break;
    case 8: RollOrResetPeak(at); break;
    case 9: Roll(2) == 0 ? Uncharge(at) : EndHold(); break;
    default: UseCredit();
  }
}

const ModelNode* Game::ModelOf(const Budget* budget) const {
  for (const Node& node : nodes_) {
    if (&node.budget() == budget) return node.model.get();
  }
  return nullptr;
}

void Game::CompareRefusal(const Refusal& refusal, const ModelAnswer& answer, std::int64_t asked) {
  EXPECT_EQ(refusal.reason, answer.refused);
  EXPECT_EQ(ModelOf(refusal.budget), answer.by);
  EXPECT_EQ(refusal.asked, asked);
  EXPECT_EQ(refusal.limit, answer.by->limit);
  // A negative amount is refused before any stock is taken back.
  if (!WithCredit() || refusal.reason != Refusal::Reason::kNegative) {
    EXPECT_EQ(refusal.charged, static_cast<std::int64_t>(answer.by->charged()));
  }
}

void Game::Compare(const Charged& charged, const ModelAnswer& answer, std::int64_t asked) {
  ASSERT_EQ(charged.has_value(), !answer.refused.has_value()) << asked;
  if (!charged) {
    CompareRefusal(charged.error(), answer, asked);
  } else if (!WithCredit()) {
    // Where a charge goes through credit, the tree did not move.
    EXPECT_TRUE(charged->edges || !answer.raised);
  }
}

ModelAnswer Negative(const ModelNode* by) {
  return {.refused = Refusal::Reason::kNegative, .by = by};
}

void Game::TryCharge(std::size_t at) {
  ModelNode* model = nodes_[at].model.get();
  const std::int64_t amount = AnyAmount(*model);
  const ModelAnswer answer = amount < 0 ? Negative(model) : Add(model, amount, 0, true);
  Compare(nodes_[at].budget().TryCharge(amount), answer, amount);
}

void Game::Charge(std::size_t at) {
  ModelNode* model = nodes_[at].model.get();
  const std::int64_t amount = AnyAmount(*model);
  const ModelAnswer answer = amount < 0 ? Negative(model) : Add(model, amount, 0, false);
  const Charged charged = nodes_[at].budget().Charge(amount);
  Compare(charged, answer, amount);
  if (charged) {
    EXPECT_EQ(charged->over, answer.over);
  }
}

void Game::Uncharge(std::size_t at) {
  ModelNode* model = nodes_[at].model.get();
  if (model->flow || model->used == 0) return;
  // What children have charged is theirs to give back.
  Wide own = model->used;
  for (const Node& node : nodes_) {
    if (node.model->parent == model) own -= node.model->used;
  }
  if (own <= 0) return;
  const auto amount = static_cast<std::int64_t>(
      Roll(3) == 0 ? own : Wide{Roll(static_cast<std::uint64_t>(std::min<Wide>(own, 500)) + 1)});
  nodes_[at].budget().Uncharge(amount);
  for (ModelNode* node = model; node != nullptr; node = node->parent) {
    node->used -= amount;
    node->Update();
  }
}

void Game::Reserve(std::size_t at) {
  ModelNode* model = nodes_[at].model.get();
  const std::int64_t amount = AnyAmount(*model);
  const ModelAnswer answer = amount < 0 ? Negative(model) : Add(model, 0, amount, true);
  auto hold = nodes_[at].budget().Reserve(amount);
  ASSERT_EQ(hold.has_value(), !answer.refused.has_value());
  if (!hold) return CompareRefusal(hold.error(), answer, amount);
  EXPECT_EQ(hold->amount(), amount);
  holds_.push_back({std::move(*hold), at, amount});
}

void Game::EndHold() {
  if (holds_.empty()) return;
  std::swap(holds_[Roll(holds_.size())], holds_.back());
  Held& held = holds_.back();
  ModelNode* model = nodes_[held.node].model.get();
  const bool release = Roll(3) == 0;
  const std::int64_t actual = release ? 0 : (Roll(2) == 0 ? held.amount / 2 : AnyAmount(*model));
  ModelAnswer answer;
  if (actual < 0) {
    answer = Negative(model);
  } else if (actual > held.amount) {
    answer = Add(model, actual - held.amount, 0, false);
  }
  if (!answer.refused) End(*model, held.amount, std::min(actual, held.amount), answer);
  if (release) {
    held.hold.Release();
  } else {
    const Charged charged = held.hold.Settle(actual);
    Compare(charged, answer, actual < 0 ? actual : actual - held.amount);
    if (charged) {
      EXPECT_EQ(charged->over, answer.over);
    } else {
      EXPECT_EQ(held.hold.amount(), held.amount) << "the hold stands";
      return;
    }
  }
  EXPECT_FALSE(held.hold);
  holds_.pop_back();
}

void Game::SetLimit(std::size_t at) {
  ModelNode* model = nodes_[at].model.get();
  model->limit = Roll(3) == 0 ? static_cast<std::int64_t>(model->charged()) : AnyLimit();
  const auto before = model->pending;
  model->Update();
  const Outcome outcome = nodes_[at].budget().SetLimit(model->limit);
  EXPECT_EQ(outcome.over, model->over());
  EXPECT_TRUE(outcome.edges || model->pending == before || WithCredit());
}

void Game::TakeEdges(std::size_t at) {
  const Edges edges = nodes_[at].budget().TakeEdges();
  auto& pending = nodes_[at].model->pending;
  if (WithCredit()) {
    // Edges count what is stocked as used: thresholds rise early and re-arm late. The limit re-arms
    // late too, but is never said to be passed when it is not.
    EXPECT_TRUE(!edges.limit || pending[7]);
  } else {
    EXPECT_EQ(edges.limit, pending[7]);
    for (std::size_t i = 0; i < 7; ++i) {
      EXPECT_EQ((edges.thresholds >> i & 1) != 0, pending[i]) << i;
    }
  }
  pending.assign(8, false);
}

void Game::RollOrResetPeak(std::size_t at) {
  ModelNode* model = nodes_[at].model.get();
  if (model->flow) {
    EXPECT_EQ(nodes_[at].budget().Roll(), static_cast<std::int64_t>(model->used));
    model->used = 0;
    model->Update();
  } else {
    nodes_[at].budget().ResetPeak();
    model->peak = model->used;
  }
}

void Game::UseCredit() {
  if (credits_.size() < 3 && (credits_.empty() || Roll(20) == 0)) {
    const std::size_t at = AnyNode();
    const std::int64_t quantum = 1 + static_cast<std::int64_t>(Roll(200));
    credits_.emplace_back(std::make_unique<Credit>(nodes_[at].budget(), quantum), at);
  }
  auto& [credit, at] = credits_[Roll(credits_.size())];
  ModelNode* model = nodes_[at].model.get();
  switch (Roll(20)) {
    case 0: credit->Flush(); return;
    case 1:
      std::swap(credit, credits_.back().first);
      std::swap(at, credits_.back().second);
      credits_.pop_back();
      return;
    case 2: credit = std::make_unique<Credit>(std::move(*credit)); return;
    default: break;
  }
  if (Roll(3) == 0) {
    Wide own = model->used;
    for (const Node& node : nodes_) {
      if (node.model->parent == model) own -= node.model->used;
    }
    if (own <= 0) return;
    const auto amount = static_cast<std::int64_t>(
        Wide{Roll(static_cast<std::uint64_t>(std::min<Wide>(own, 500)) + 1)});
    credit->Uncharge(amount);
    for (ModelNode* node = model; node != nullptr; node = node->parent) {
      node->used -= amount;
      node->Update();
    }
    return;
  }
  const std::int64_t amount = AnyAmount(*model);
  const ModelAnswer answer = amount < 0 ? Negative(model) : Add(model, amount, 0, true);
  Compare(credit->TryCharge(amount), answer, amount);
}

void Game::CompareAll() {
  for (const Node& node : nodes_) {
    const BudgetSnapshot shot = node.budget().snapshot();
    const ModelNode& model = *node.model;
    EXPECT_EQ(shot.limit, model.limit);
    EXPECT_EQ(shot.used, static_cast<std::int64_t>(model.used));
    EXPECT_EQ(shot.held, static_cast<std::int64_t>(model.held));
    EXPECT_EQ(shot.charged, shot.used + shot.held + shot.credited);
    if (shot.charged > shot.limit) {
      EXPECT_EQ(shot.credited, 0) << "past a limit nothing is stocked";
    }
    if (WithCredit()) {
      EXPECT_GE(shot.peak, static_cast<std::int64_t>(model.peak));
    } else {
      EXPECT_EQ(shot.credited, 0);
      EXPECT_EQ(shot.peak, static_cast<std::int64_t>(model.peak));
      EXPECT_EQ(node.budget().used(), shot.used);
    }
    EXPECT_EQ(node.budget().IsOver(), model.over());
  }
}

std::uint64_t FirstSeed() {
  const char* text = std::getenv("METE_TEST_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : 20240229;
}

void PlayRounds(Kind kind) {
  const std::uint64_t first = FirstSeed();
  constexpr int kEach = kRounds / 3 + 1;
  std::printf("METE_TEST_SEED=%llu, %d operations\n", static_cast<unsigned long long>(first),
              kEach * kOperations);
  for (int round = 0; round < kEach; ++round) {
    const std::uint64_t seed = first + static_cast<std::uint64_t>(round);
    Game(seed, kind).Play(kOperations);
    ASSERT_FALSE(testing::Test::HasFailure()) << "METE_TEST_SEED=" << seed;
  }
}

TEST(ModelTest, Levels) { PlayRounds(Kind::kLevels); }
TEST(ModelTest, Flows) { PlayRounds(Kind::kFlows); }
TEST(ModelTest, LevelsWithCredit) { PlayRounds(Kind::kLevelsWithCredit); }

}  // namespace
}  // namespace mete
